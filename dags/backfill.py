"""# Backfill

Rebuilds the gold tables **of one night**: item statistics, popular list, similar items and each user's list, from what
happened before that night's end and by the model that scored it when it was first made. It never publishes and never
moves the champion: what readers get stays what it is. `docs/backfill.md` says more.

- **Start it** with `nightloom backfill --from A --to B`, which hands bounded chunks of nights to Airflow's own
  backfill, follows them, and goes on where it was when it is called again. Airflow's page (*Trigger*, *Backfill*) does,
  too, once this DAG is unpaused.
- **It never runs by itself**: it has the night's schedule only so that each day is a run, and it is paused except
  while the command works.
- **A task is red**: its log's last lines say what was found, what was expected and what to do. Mend that, and call the
  command again.

The rows it makes them of, histories and item days, are the same for every night: `rebuild` brings them up to date
first. Neither starts a Spark server: the command keeps one for all nights; else each task has a Spark of its own.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from policy import POLICY, task

from nightloom.night import stages

MODEL = Param(
    "as-published",
    type="string",
    pattern="^(as-published|champion|[0-9]+)$",
    description="Whose lists: of the model that scored the night first, of today's champion, or of a version.",
)

with DAG(
    "backfill",
    # The night's own, so that the run of a date is the same one in both.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=True,
    tags=["nightloom", "night"],
    description="Rebuild the gold tables of a night that was; publishes nothing.",
    doc_md=__doc__,
    **POLICY | {"params": POLICY["params"] | {"model": MODEL}},
):
    task(stages.ITEM_STATS) >> [
        task(stages.POPULAR),
        task(stages.SIMILAR_ITEMS, "--model {{ params.model }}"),
        task(stages.RECOMMENDATIONS, "--model {{ params.model }}"),  # slate rules read the statistics
    ]
