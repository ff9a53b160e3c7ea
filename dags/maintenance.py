"""# Maintenance

Weekly upkeep of every table, by `spark_jobs.maintenance`: it deletes rows past their contract's retention, compacts
small files, orders `silver.interactions` by time where that helps, and removes old versions and log entries.
`ops.storage` and the task's log give the size of each table and the actions; `docs/quality.md` says what is retained.

By default it runs on Sundays at 06:00 UTC, after the night and the retraining, and can be triggered at any time:
versions that a servable version, the champion or a stage needs stay. If a night runs at the same moment, one of the two
may fail with a conflict on one table; the failed one can simply run again.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronTriggerTimetable
from policy import AIRFLOW, POLICY, task

from nightloom.night import stages

with DAG(
    "maintenance",
    schedule=CronTriggerTimetable(AIRFLOW.maintenance, timezone=AIRFLOW.timezone),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "upkeep"],
    description="Delete old rows and versions, compact small files, report storage.",
    doc_md=__doc__,
    **POLICY,
):
    # Spark inside the task: stopping the night's warm server would stop a night that still runs.
    task(stages.MAINTENANCE)
