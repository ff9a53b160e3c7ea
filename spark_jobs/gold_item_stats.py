"""gold.item_stats: one row per night and item with interactions so far: their number, the last one, the popularity.

gold.item_days up to the night's date -> gold.item_stats, the night's partition.
"""

from __future__ import annotations

from datetime import date, timedelta

from nightloom.contracts import ITEM_DAYS, ITEM_STATS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from spark_jobs.commit_stamps import is_up_to_date, replace_night, sql_date
from spark_jobs.gold_item_days import DIGITS


def item_stats(day: date, half_life_days: float) -> str:
    """SQL over `item_days`: a row per item, as of the end of `day`."""
    windows = (
        f"sum(CASE WHEN day > {sql_date(day - timedelta(days=days))} THEN events ELSE 0 END) AS events_{days}d"
        for days in (1, 7, 28)
    )
    age = f"(arrow_cast({sql_date(day)}, 'Int32') - arrow_cast(day, 'Int32'))"  # days since 1970 of both
    return (
        f"SELECT {sql_date(day)} AS night, item_id, {', '.join(windows)}, sum(events) AS events, "
        f"round(sum(weight * power(0.5, {age} / CAST({half_life_days} AS DOUBLE))), {DIGITS}) AS popularity, "
        "min(first_at) AS first_at, max(last_at) AS last_at "
        f"FROM item_days WHERE day <= {sql_date(day)} GROUP BY item_id ORDER BY item_id"
    )


def main(night: Night) -> None:
    """Rewrite the night's item statistics."""
    if not is_up_to_date(night, ITEM_STATS, ITEM_DAYS):
        made = item_stats(night.date, night.settings.slate.popular_half_life_days)
        item_days = night.lake.open(ITEM_DAYS, night.pin(ITEM_DAYS))
        replace_night(night, ITEM_STATS, night.lake.query(made, ("item_days", item_days)))


if __name__ == "__main__":
    run_stage(stages.ITEM_STATS, main)
