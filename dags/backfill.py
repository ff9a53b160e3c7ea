"""# Backfill

Rebuilds the gold tables **of one night**: item statistics, popular list, similar items and each user's list, from the
events before that night's end and by the model that scored the night first. It never publishes and never changes the
champion, so the served lists stay as they are. `docs/backfill.md` says more.

- **Start it** with `nightloom backfill --from A --to B`. The command hands chunks of nights to Airflow's own backfill,
  follows them, and goes on where it stopped when it is called again. Airflow's page (*Trigger*, *Backfill*) can start
  it, too, once this DAG is unpaused.
- **It never runs by itself**: it has the night's schedule only so that each day is a run, and it is paused except
  while the command works.
- **A task is red**: the last lines of its log say what was found, what was expected and what to do. Fix that, and call
  the command again.

The nights share histories and item days, which `rebuild` brings up to date first. Neither DAG starts a Spark server:
the command keeps one for all nights; without the command each task has its own Spark session.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from policy import AIRFLOW, POLICY, task

from nightloom.night import stages

MODEL = Param(
    "as-published",
    type="string",
    pattern="^(as-published|champion|[0-9]+)$",
    description="Which model scores: the one that scored the night first, today's champion, or a version.",
)

with DAG(
    "backfill",
    # The night's own schedule, so that a date's run has the same logical date in both DAGs.
    schedule=CronDataIntervalTimetable(AIRFLOW.nightly, timezone=AIRFLOW.timezone),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=True,
    tags=["nightloom", "night"],
    description="Rebuild the gold tables of an earlier night; publish nothing.",
    doc_md=__doc__,
    **POLICY | {"params": POLICY["params"] | {"model": MODEL}},
):
    task(stages.ITEM_STATS) >> [
        task(stages.POPULAR),
        task(stages.SIMILAR_ITEMS, "--model {{ params.model }}"),
        task(stages.RECOMMENDATIONS, "--model {{ params.model }}"),  # slate rules read the statistics
    ]
