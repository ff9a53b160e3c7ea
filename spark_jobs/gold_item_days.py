"""gold.item_days: item performance, one row per day and item with interactions on that day.

silver.interactions -> gold.item_days, only the days that changed.
"""

from __future__ import annotations

from functools import partial

from nightloom.contracts import INTERACTIONS, ITEM_DAYS
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.context import ALL, SparkNight
from spark_jobs.increments import refresh_periods
from spark_jobs.selects import select

DIGITS = 9  # of weight: a sum of floats differs in its last digits with the order in which it is added
STATEMENT = f"""
SELECT to_date(occurred_at) AS day, item_id, count(*) AS events, count(DISTINCT user_id) AS users,
       round(sum(weight), {DIGITS}) AS weight, min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM silver.interactions GROUP BY 1, 2
"""


def main(night: SparkNight) -> None:
    """Rebuild the days that changed."""
    refresh_periods(night, ITEM_DAYS, INTERACTIONS, partial(select, night, STATEMENT, ITEM_DAYS))


if __name__ == "__main__":
    run_stage(stages.ITEM_DAYS, main, context=SparkNight, options=ALL)
