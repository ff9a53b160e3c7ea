"""# Retraining

Trains every declared model on one pinned version of `silver.interactions`, then **gate 2 (model)** compares the
challenger with the champion and with popularity on later days. A challenger that wins becomes the champion, which
scores from the next night on; one that does not changes nothing.

It asks whether training is due when a night has made its gold tables (the asset `gold`), for that night's date; and,
should a night fail before that, each day at 04:00 UTC. `training.due` says why, or the run is skipped. `nightly` never
waits for it. By hand: trigger it, with `{"date": "YYYY-MM-DD"}` if it is not today's; two never run at once.
To train although it is not due, run `python -m training.train --date D` and then the gate; to go back to the champion
before, `nightloom model demote`.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, AssetOrTimeSchedule, CronDataIntervalTimetable
from policy import GOLD, POLICY, task

from nightloom.night import stages

with DAG(
    "retraining",
    # As in nightly, the interval's start is the date it works for.
    schedule=AssetOrTimeSchedule(timetable=CronDataIntervalTimetable("0 4 * * *", timezone="UTC"), assets=[GOLD]),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "training"],
    description="Train a challenger, and promote it when it is better on later days.",
    doc_md=__doc__,
    **POLICY,
):
    task(stages.TRAINING_DUE) >> task(stages.TRAIN) >> task(stages.MODEL_GATE)
