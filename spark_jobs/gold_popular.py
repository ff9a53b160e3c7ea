"""gold.popular: one row per night and segment: the list for users without their own list. Segment `all` is everybody.

gold.item_stats of the night, silver.items (available items that no slate rule hides) -> gold.popular, the night's
partition. With `slate.segments` also silver.interactions and silver.users: popular_segments.py.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from nightloom.contracts import INTERACTIONS, ITEM_STATS, ITEMS, POPULAR, USERS
from nightloom.lake import arrow
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.slate.plan import Plan
from spark_jobs.commit_stamps import is_up_to_date, replace_night, sql_date
from spark_jobs.context import SparkNight
from spark_jobs.popular_segments import popular_by_segment

EVERYBODY = "all"
NO_LIMIT = 2**31 - 1


def most_popular_sql(day: date, length: int) -> str:
    """SQL over `item_stats` and `items`: the `length` most popular available items of the day, best first.

    Items without likes but with many events fill a short list.
    """
    return (
        "SELECT item_id, popularity FROM item_stats "
        "LEFT ANTI JOIN (SELECT item_id FROM items WHERE NOT available) hidden USING (item_id) "
        f"WHERE night = {sql_date(day)} ORDER BY popularity DESC, events DESC, item_id LIMIT {length}"
    )


def main(night: SparkNight) -> None:
    """Rewrite the night's popular lists."""
    slate = night.settings.slate
    segmented = bool(slate.segments) and night.lake.exists(USERS)
    inputs = [ITEM_STATS, ITEMS, *([INTERACTIONS, USERS] if segmented else [])]
    if is_up_to_date(night, POPULAR, *inputs):
        return
    plan = None
    if slate.hiding_rules:
        from nightloom.lake.described_items import compile_slate  # DuckDB: only where there are rules

        plan = compile_slate(night.lake, night.settings, night.date, night.pin(ITEMS), night.pin(ITEM_STATS))
    length = NO_LIMIT if slate.hiding_rules else slate.stored  # a rule may leave any of them
    opened = [(each.name, night.lake.open(each, night.pin(each))) for each in (ITEM_STATS, ITEMS)]
    asked = most_popular_sql(night.date, length)
    of_all = night.lake.query(asked, *opened)
    ranked = {EVERYBODY: of_all} | (popular_by_segment(night, length) if segmented else {})
    rows = [_row(night.date, segment, items, plan, slate.stored) for segment, items in ranked.items()]
    replace_night(night, POPULAR, arrow(POPULAR, [row for row in rows if row["items"] or row["segment"] == EVERYBODY]))


def _row(day: date, segment: str, ranked: pa.Table, plan: Plan | None, length: int) -> dict[str, object]:
    """A segment's list out of its items, best first: what no rule hides from a user of it."""
    items, scores = ranked["item_id"].to_pylist(), ranked["popularity"].to_pylist()
    if plan:
        shown = plan.visible_to_stranger(items, () if segment == EVERYBODY else (segment,)).nonzero()[0][:length]
        items, scores = ([values[place] for place in shown] for values in (items, scores))
    return {"night": day, "segment": segment, "items": items, "scores": scores}


if __name__ == "__main__":
    run_stage(stages.POPULAR, main, context=SparkNight)
