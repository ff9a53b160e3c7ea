"""gold.popular: one row per night and segment: the list for whoever has none of their own. Segment `all` so far.

gold.item_stats of the night, silver.items (what is available, what the slate's filters leave) -> gold.popular, the
night's partition.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from nightloom.lake import arrow
from nightloom.manifest import run_stage
from nightloom.tables import ITEM_STATS, ITEMS, POPULAR
from spark_jobs.stamped import StampedNight, sql_date

EVERYBODY = "all"
ALL = 2**31 - 1


def best(day: date, length: int) -> str:
    """SQL over `item_stats` and `items`: the `length` most popular available items of the day, best first.

    Those that nobody liked, but many touched, fill a short list.
    """
    return (
        "SELECT item_id, popularity FROM item_stats "
        "LEFT ANTI JOIN (SELECT item_id FROM items WHERE NOT available) hidden USING (item_id) "
        f"WHERE night = {sql_date(day)} ORDER BY popularity DESC, events DESC, item_id LIMIT {length}"
    )


def popular(day: date, best: pa.Table) -> pa.Table:
    """The best items -> the one row of everybody's list."""
    lists = {"items": best["item_id"].to_pylist(), "scores": best["popularity"].to_pylist()}
    return arrow(POPULAR, [{"night": day, "segment": EVERYBODY} | lists])


def main(night: StampedNight) -> None:
    """Rewrite the night's popular list."""
    if not night.settled(POPULAR, ITEM_STATS, ITEMS):
        length, filters = night.settings.slate.stored, night.settings.slate.filters
        asked = best(night.date, ALL if filters else length)
        found = night.lake.query(asked, ("item_stats", night.read(ITEM_STATS)), ("items", night.read(ITEMS)))
        if filters:
            from nightloom import slate_plan  # numba and DuckDB: only where there are rules

            versions = night.pin(ITEMS), night.pin(ITEM_STATS)
            plan = slate_plan.plan(night.lake, night.settings, night.date, *versions)
            shown = plan.strangers_see(found["item_id"].to_pylist())
            plain = pa.schema([("item_id", pa.string()), ("popularity", pa.float64())])  # a view cannot be filtered
            found = found.cast(plain).filter(pa.array(shown)).slice(0, length)
        night.put(POPULAR, popular(night.date, found))


if __name__ == "__main__":
    run_stage("spark_jobs.gold_popular", main, frame=StampedNight)
