"""# Maintenance

Weekly upkeep of every table, by `spark_jobs.maintenance`: rows past their contract's retention are deleted, small files
put together, `silver.interactions` ordered by time where that helps, old versions and log entries removed.
`ops.storage` and the task's log say of each table what it holds and what was done; `docs/quality.md`, what is kept.

It runs on Sundays at 06:00 UTC, after the night and the retraining, and can be triggered at any time: what a kept
serving version, the champion or a stage needs stays. A night at the same moment may make one of the two fail with a
conflict on one table; either can simply run again.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronTriggerTimetable
from policy import POLICY, task

from nightloom.night import stages

with DAG(
    "maintenance",
    schedule=CronTriggerTimetable("0 6 * * 0", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "upkeep"],
    description="Old rows and versions out, small files together, storage reported.",
    doc_md=__doc__,
    **POLICY,
):
    # Spark inside the task: stopping the night's warm server would stop a night that still runs.
    task(stages.MAINTENANCE)
