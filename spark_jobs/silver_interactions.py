"""silver.interactions: one row per event id: who did what to which item, when, how strongly.

New rows of bronze.events -> silver.interactions, insert only: the first delivery of an event counts, by its file's
time. Two records of one file have no order, so their hash decides. Unusable rows -> quarantine.rows.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS
from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.settings import Settings, Signal
from spark_jobs.context import ALL, SparkNight
from spark_jobs.parsing import check_clock, fault, quote_value, with_verdict
from spark_jobs.silver import first_per_key, update_silver
from spark_jobs.user_limits import skip_excess

TYPES = {
    "event_id": "string", "user_id": "string", "item_id": "string", "event": "string", "value": "double",
    "occurred_at": "timestamp",
}  # fmt: skip
EPOCH = "1970-01-01 00:00:00"  # the time of a clock that was never set


def interactions(rows: DataFrame, signals: Sequence[Signal]) -> DataFrame:
    """Good events -> one row per event id, with its weight."""
    return rows.withColumn("weight", weight(signals)).transform(
        first_per_key("event_id", F.col("ingested_at"), F.col("file_modified_at"), F.col("file"), F.col("row_id"))
    )


def event_id() -> Column:
    """The sender's id, or a hash of the record without its file: a line that is delivered again is the same event."""
    record = F.to_json(F.array_sort(F.map_entries("fields")))
    own = F.sha2(F.concat_ws("|", "source", record), 256)
    return F.when(F.col("event_id") != "", F.col("event_id")).otherwise(own)


def weight(signals: Sequence[Signal]) -> Column:
    """The signal's weight; 0 where the value is missing or below min_value."""
    weighed = F.lit(None).cast("double")
    for signal in signals:
        enough = (
            F.lit(True) if signal.min_value is None else F.coalesce(F.col("value") >= signal.min_value, F.lit(False))
        )
        own = F.when(enough, F.lit(signal.weight)).otherwise(F.lit(0.0))
        weighed = F.when(F.col("event") == signal.event, own).otherwise(weighed)
    return weighed


def check_event(signals: Sequence[Signal]) -> Column:
    """The check that the event is declared."""
    known = [signal.event for signal in signals]
    detail = F.concat(F.lit("event is "), quote_value(F.col("event")), F.lit(f", declared are {', '.join(known)}"))
    return F.when(~F.col("event").isin(known), fault("unknown_event", detail))


def check_values(signals: Sequence[Signal]) -> list[Column]:
    """The checks that value and time are possible."""
    detail = F.concat(F.lit("value is "), quote_value(F.col("value")))
    infinite = F.isnan("value") | (F.abs("value") == float("inf"))
    checks = [F.when(infinite, fault("impossible_value", F.concat(detail, F.lit(", expected a number"))))]
    for signal in signals:
        if signal.valid:
            low, high = signal.valid
            fits = F.coalesce(F.col("value").between(low, high), F.lit(False))
            expected = F.concat(detail, F.lit(f", expected {low:g} to {high:g}"))
            checks.append(F.when((F.col("event") == signal.event) & ~fits, fault("impossible_value", expected)))
    when = F.concat(
        F.lit("occurred_at is "), quote_value(F.col("occurred_at")), F.lit(f", expected later than {EPOCH}")
    )
    return [*checks, F.when(F.col("occurred_at") <= F.lit(EPOCH).cast("timestamp"), fault("impossible_value", when))]


def check_lateness(settings: Settings) -> Column:
    """The check that the event's day did not end longer ago than the declared window.

    A day has ended for a source that was already read on a night of that day or a later one (`_read_before`). After a
    week without nights, no event of that week is late.
    """
    day, window = F.to_date("occurred_at"), settings.late.window_days
    age = F.datediff("night", day)
    detail = F.concat(
        F.lit("occurred_at is "), F.col("occurred_at").cast("string"), F.lit(", "), age.cast("string"),
        F.lit(" days before the night of "), F.col("night").cast("string"), F.lit(f"; late.window_days is {window}"),
    )  # fmt: skip
    return F.when((day <= F.col("_read_before")) & (age > window), fault("too_late", detail))


def previous_nights(night: SparkNight) -> DataFrame:
    """(source, night, _read_before): for each night the last one before it on which the source brought rows."""
    nights = defaultdict[str, list[date]](list)
    for source, each in sorted(source_nights(night.lake, night.pin(BRONZE_EVENTS))):
        nights[source].append(each)
    rows = [(source, each, before) for source, all in nights.items() for before, each in pairwise([None, *all])]
    return night.spark.createDataFrame(rows, "source string, night date, _read_before date")


def source_nights(lake: Lake, version: int) -> set[tuple[str, date]]:
    """(source, night) of all events in bronze: from the table's log without reading rows, until a compaction."""
    if (logged := lake.distinct_in_log(BRONZE_EVENTS, ("source", "night"), version)) is not None:
        return logged
    rows = lake.query("SELECT DISTINCT source, night FROM b", ("b", lake.open(BRONZE_EVENTS, version)))
    return {(row["source"], row["night"]) for row in rows.to_pylist()}


def judge(rows: DataFrame, settings: Settings, before: DataFrame) -> DataFrame:
    """Parsed events -> events with an id and a verdict."""
    checks = [check_event(settings.signals), *check_values(settings.signals), check_clock("occurred_at", settings)]
    dated = rows.withColumn("event_id", event_id()).join(F.broadcast(before), ["source", "night"], "left")
    return with_verdict(dated, *checks, check_lateness(settings)).drop("_read_before")


def main(night: SparkNight) -> None:
    """Merge new events into silver.interactions."""
    before, limit = previous_nights(night), night.settings.interactions.max_per_user_and_day
    _warn_of_missing_times(night)
    update_silver(
        night,
        "events",
        INTERACTIONS,
        types=TYPES,
        judge=lambda rows: judge(rows, night.settings, before),
        transform=lambda rows: interactions(rows, night.settings.signals),
        revise=None if limit is None else lambda rows: skip_excess(night, rows, limit),
    )


def _warn_of_missing_times(night: SparkNight) -> None:
    """Say which sources of events have no times of their own, and what that costs."""
    without = [source.name for source in night.settings.sources_of("events") if source.has_file_times]
    if without:
        names = ", ".join(f"'{name}'" for name in without)
        night.tags["events with their file's time"] = ", ".join(without)
        print(
            f"warning: events of {names} have the time of their file: all of a file are of one day, so models have no "
            "later days to be judged on until a later file comes; docs/sources.md, 'Data without times'",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run_stage(stages.SILVER_INTERACTIONS, main, context=SparkNight, options=ALL)
