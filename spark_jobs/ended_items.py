"""Items that end: their time is over, or the newest full catalogue of their source lacks them.

silver.items -> the same, not available. All that decides stands in the table, so a run after a killed one ends the same
items. A later description makes an item available again.
"""

from __future__ import annotations

from nightloom.contracts import ITEMS
from nightloom.lake.full_catalogues import absent_items, is_complete
from nightloom.literals import spark_name
from spark_jobs.commit_stamps import commit_stamp, sql_date
from spark_jobs.context import METADATA, SparkNight
from spark_jobs.delta_errors import translate_delta_errors


def end_items(night: SparkNight) -> None:
    """Make the items unavailable that end on this night. Without such items nothing is written."""
    sources = night.settings.sources_of("items")
    over = f"unavailable_from <= TIMESTAMP '{night.end:%Y-%m-%dT%H:%M:%SZ}'"
    ends = {over: "over"} if any("unavailable_from" in source.columns for source in sources) else {}
    for source in sources:
        found = absent_items(night.lake, source, night.lake.version(ITEMS)) if source.full else None
        if found and is_complete(found, source):
            ends[found.where] = f"absent from {source.name}"
    for where, why in ends.items():
        if ended := _end(night, f"available AND {where}"):
            night.counts[why] = ended


def _end(night: SparkNight, where: str) -> int:
    """Make the items unavailable that meet a condition -> how many."""
    (found,) = night.lake.rows(ITEMS, where, ["count(*) AS n"])["n"].to_pylist()
    if found:
        change = f"SET available = false, night = {sql_date(night.date)}"
        statement = f"UPDATE delta.{spark_name(night.lake.path(ITEMS))} {change} WHERE {where}"
        with translate_delta_errors(ITEMS), night.configured({METADATA: commit_stamp(night)}):
            night.spark.sql(statement).collect()
    return int(found)
