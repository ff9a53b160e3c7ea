"""# The night

From a day's files to tomorrow's lists: ingest, clean, **gate 1 (data)**, gold, score, **gate 3 (slate)**, publish,
report, marts. By default it starts at 02:00 UTC, for the day that ended
two hours before. Every task is a command that a
person can run by hand; the task's log shows it. `docs/night.md` says what each stage does.

- **A task is red**: the last lines of its log say what was found, what was expected and what to do. Fix that, then
  *clear* the task: a stage can run again at any time.
- **A gate is closed**: the task failed without a second try, nothing was published, yesterday's lists are served. Fix
  the cause, or run the gate by hand with `--override "WHO: WHY"` and mark the task a success.
- **By hand**: a trigger without a date works for the last complete day (UTC), `{"date": "YYYY-MM-DD"}` for another one.
  A day that is not over needs `"incomplete": true` as well: its night is published, and part of the day is missing.
- **Models**: the night trains a model itself only while there is no champion, and **gate 2 (model)** compares it. Later
  the DAG `retraining` does; the asset `gold`, which the marts update, starts it, and the night does not wait for it.

The night's stages share one warm Spark server: a setup task starts it, and a teardown task stops it also after a
failure; a failed stage still fails the run.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable
from alerts import deadlines
from policy import AIRFLOW, GOLD, POLICY, command, task, with_date

from nightloom.night import stages

with DAG(
    "nightly",
    # The interval's start is the night's date: the run of D starts when its interval ends, by default at 02:00 on D+1.
    schedule=CronDataIntervalTimetable(AIRFLOW.nightly, timezone=AIRFLOW.timezone),
    deadline=deadlines(),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "night"],
    description="From a day's files to tomorrow's published lists.",
    doc_md=__doc__,
    **POLICY,
) as dag:
    spark_start = command("python -m spark_jobs.session start", "spark_jobs.session.start").as_setup()  # type: ignore[no-untyped-call]
    spark_stop = command("python -m spark_jobs.session stop", "spark_jobs.session.stop").as_teardown(setups=spark_start)

    bronze = task(stages.BRONZE)
    silver = [
        task(stages.SILVER_ITEMS),
        task(stages.SILVER_USERS),
        task(stages.SILVER_INTERACTIONS),
    ]
    data_gate = task(stages.DATA_GATE)
    histories = task(stages.HISTORIES)
    item_days = task(stages.ITEM_DAYS)
    item_stats = task(stages.ITEM_STATS)
    popular = task(stages.POPULAR)
    train = task(stages.TRAIN, "--when first")
    model_gate = task(stages.MODEL_GATE)
    # Both trainings may be skipped: a champion serves already.
    recommendations = task(stages.RECOMMENDATIONS, trigger_rule="none_failed")
    similar_items = task(stages.SIMILAR_ITEMS, trigger_rule="none_failed")
    slate_gate = task(stages.SLATE_GATE)
    publish = task(stages.PUBLISH)
    report = task(stages.REPORT)
    marts = task(stages.MARTS, outlets=[GOLD], post_execute=with_date)
    marts_check = task(stages.MARTS_CHECK)

    spark_start >> bronze >> silver >> data_gate >> [histories, item_days]
    item_days >> item_stats >> popular >> recommendations
    histories >> recommendations
    [item_stats, model_gate] >> similar_items >> slate_gate
    data_gate >> train >> model_gate >> recommendations  # training reads silver, so it need not wait for gold
    recommendations >> slate_gate >> publish >> report
    publish >> marts >> marts_check  # for analysts: the lists do not wait for them
    # Each Spark stage itself: a failure skips what follows at once, while its neighbours still run.
    [dag.get_task(stage.name) for stage in stages.NIGHT if stage.spark] >> spark_stop
