"""# Retraining

Trains every declared model on one pinned version of `silver.interactions`, then **gate 2 (model)** compares the
challengers with the champion and with popularity on later days. A challenger that wins becomes the champion and scores
from the next night on; otherwise nothing changes.

It starts when a night has written its gold tables (the asset `gold`), with that night's date; and, by default, each day
at 04:00 UTC, in case a night fails before that. `training.due` says why training is due, or skips the run. `nightly`
never waits for it. By hand: trigger it, with `{"date": "YYYY-MM-DD"}` for another date than the last complete day; two
never run at once. To train although it is not due, run `python -m training.train --date D` and then the gate; to return
to the previous champion, run `nightloom model demote`.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable
from policy import AIRFLOW, GOLD, POLICY, task

from nightloom.night import stages

with DAG(
    "retraining",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(AIRFLOW.retraining, timezone=AIRFLOW.timezone), assets=[GOLD]
    ),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "training"],
    description="Train a challenger, and promote it when it is better on later days.",
    doc_md=__doc__,
    **POLICY,
):
    task(stages.TRAINING_DUE) >> task(stages.TRAIN) >> task(stages.MODEL_GATE)
