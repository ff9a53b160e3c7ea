"""The common steps of the silver tables: new bronze rows -> verdicts -> quarantine the bad, merge the good, count all.

Each row ends in the table, in quarantine.rows or in silver.unused_rows. The counts only describe the run:
read = inserted + updated + duplicates + quarantined + skipped, for each table and night. A line that a file has twice
counts as one row and one duplicate, whatever its verdict.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE, QUARANTINE_ROWS, UNUSED_ROWS, Table
from nightloom.literals import spark_text
from spark_jobs import unused_rows
from spark_jobs.context import SparkNight, cached
from spark_jobs.increments import Update, append_new, merge, new_rows
from spark_jobs.isolation import Evaluation, Transform, evaluated
from spark_jobs.parsing import GOOD, QUARANTINE, SKIP
from spark_jobs.renamed_items import rename_stored, renamed_items, with_last_names


def update_silver(
    night: SparkNight,
    kind: str,
    table: Table,
    *,
    types: Mapping[str, str],
    judge: Transform,
    transform: Transform,
    update: Update | None = None,
    revise: Callable[[DataFrame], DataFrame | None] | None = None,
) -> None:
    """Merge the new rows of the kind's bronze table into `table`.

    `judge` adds a verdict to parsed rows, each by itself; `revise` looks at all of them, and gives them other verdicts
    or None. `transform` turns good rows into rows of the table, with distinct keys.
    """
    bronze = BRONZE[kind]
    sources = night.settings.sources_of(kind)
    night.create(table)
    night.create(QUARANTINE_ROWS)
    unused_rows.begin(night, bronze, table)
    logged = night.lake.distinct_in_log(bronze, ("source",), night.pin(bronze))
    undeclared = logged is None or not logged <= {(source.name,) for source in sources}
    tried, behind = _was_tried(night, bronze, table), unused_rows.is_behind(night, bronze, table)
    new = new_rows(night, bronze, into=UNUSED_ROWS if behind else table)
    names = renamed_items(night.settings, table)
    if renamed := rename_stored(night, table, names):
        night.counts["renamed"] = renamed
    evaluation = Evaluation(
        sources, types, undeclared, lambda rows: drop_unneeded_raw(judge(with_last_names(night, rows, names)))
    )
    with evaluated(night, new, evaluation, count_outcomes) as judged, _revised(*judged, revise) as (rows, counts):
        if counts["rescued"]:
            _warn_of_undeclared_fields(night, rows)  # before the commit: its stamp has the tags
        if counts["quarantined"]:
            append_new(night, QUARANTINE_ROWS, quarantine_rows(rows, kind, night), source=bronze)
        if tried and not night.everything:
            night.counts["left quarantine"] = _release_from_quarantine(night, rows, kind)
        inserted = updated = 0
        if counts["read"]:
            good = transform(rows.where(F.col("verdict.outcome") == GOOD)).withColumn("night", F.lit(night.date))
            inserted, updated = _merge_and_record(
                night, table, rows, counts, good, update, source=bronze, behind=behind
            )
        if night.everything:
            night.counts["left quarantine"] = _release_from_quarantine(night, rows, kind)
    night.record_write(table, inserted + updated)
    left = counts["read"] - inserted - updated - counts["quarantined"] - counts["skipped"]
    night.counts |= counts | {"inserted": inserted, "updated": updated, "duplicates": left}


@contextmanager
def _revised(
    rows: DataFrame, counts: dict[str, int], revise: Callable[[DataFrame], DataFrame | None] | None
) -> Iterator[tuple[DataFrame, dict[str, int]]]:
    """The judged rows after `revise`, computed once for several uses, and their counts."""
    changed = revise(rows) if revise and counts["read"] else None
    if changed is None:
        yield rows, counts
        return
    with cached(changed) as kept:
        yield kept, count_outcomes(kept)


def _was_tried(night: SparkNight, bronze: Table, table: Table) -> bool:
    """Whether a run was killed between its commits to quarantine.rows and to `table`: other rows may be bad now."""
    bad, silver = (night.lake.consumed_version(bronze, into) or 0 for into in (QUARANTINE_ROWS, table))
    return bad > silver


def _merge_and_record(
    night: SparkNight,
    table: Table,
    rows: DataFrame,
    counts: Mapping[str, int],
    good: DataFrame,
    update: Update | None,
    *,
    source: Table,
    behind: bool,
) -> tuple[int, int]:
    """Merge the good rows, then record those of `rows` that are not in the table -> (inserted, updated).

    `behind`: a run was killed between the two, and perhaps nothing is left to merge.
    """
    consumed, before = night.lake.consumed_version(source, table), night.lake.version(table)
    everything = night.everything or consumed is None
    inserted = updated = 0
    if everything or not behind or consumed != night.pin(source):
        inserted, updated = merge(night, table, good, source=source, update=update)
    whole = update is None or not update.values  # else a late record may give a column and leave no id in the row
    if whole and not everything and counts["read"] == inserted + updated + counts["quarantined"]:
        night.lake.mark_consumed({source: night.pin(source)}, UNUSED_ROWS)  # every record is in one of the two tables
    else:
        since = None if everything or behind else before
        unused_rows.record(night, source, table, rows, since=since, replace=everything)
    return inserted, updated


def drop_unneeded_raw(rows: DataFrame) -> DataFrame:
    """Drop the raw text of good and skipped rows: nothing needs it again, and caching it costs more than the rest."""
    return rows.withColumn("raw", F.when(F.col("verdict.outcome") == QUARANTINE, F.col("raw")))


def count_outcomes(rows: DataFrame) -> dict[str, int]:
    """Rows with verdicts -> counts: read, quarantined, quarantined:REASON, skipped, skipped:RULE, rescued."""
    counts = Counter({"read": 0, "quarantined": 0, "skipped": 0, "rescued": 0})
    kinds = rows.groupBy("verdict.outcome", "verdict.reason").agg(
        F.count("*").alias("n"), F.count("rescued").alias("rescued")
    )
    for outcome, reason, n, rescued in kinds.collect():
        counts["read"] += n
        counts["rescued"] += rescued if outcome == GOOD else 0
        if outcome == SKIP:
            counts["skipped"] += n
            counts[f"skipped:{reason}"] += n
        if outcome == QUARANTINE:
            counts["quarantined"] += n
            counts[f"quarantined:{reason}"] += n
    if counts["quarantined"]:  # a line that a file has twice is one row of quarantine
        bad = rows.where(F.col("verdict.outcome") == QUARANTINE)
        counts["quarantined"] = bad.select("row_id").distinct().count()
    return dict(counts)


def quarantine_rows(rows: DataFrame, kind: str, night: SparkNight) -> DataFrame:
    """Rows with verdicts -> the bad ones as rows of quarantine.rows."""
    bad = rows.where(F.col("verdict.outcome") == QUARANTINE)
    return bad.select(
        "row_id",
        F.lit(kind).alias("kind"),
        "source",
        "verdict.reason",
        "verdict.detail",
        "raw",
        "file",
        F.lit(night.date).alias("night"),
        F.lit("waiting").alias("state"),
        F.lit(None).cast("string").alias("replayed_as"),
        F.lit(None).cast("timestamp").alias("decided_at"),
        F.lit(None).cast("string").alias("decided_by"),
    )


def first_per_key(key: str, *order: Column) -> Transform:
    """A transform that keeps the first row of each key in this order."""
    first = Window.partitionBy(key).orderBy(*order)
    return lambda rows: rows.withColumn("_place", F.row_number().over(first)).where("_place = 1").drop("_place")


def latest_per_key(rows: DataFrame, key: str) -> DataFrame:
    """The latest description of each key; one without a time gets the time of its file."""
    timed = rows.withColumn("updated_at", F.coalesce("updated_at", "file_modified_at"))
    return timed.transform(first_per_key(key, F.desc("updated_at"), F.desc("row_id")))


def _release_from_quarantine(night: SparkNight, rows: DataFrame, kind: str) -> int:
    """Delete the waiting rows of a kind that are no longer bad, after all rows were checked again -> how many."""
    waiting = night.spark.read.format("delta").load(night.lake.path(QUARANTINE_ROWS))
    of_kind = waiting.where(f"kind = {spark_text(kind)} AND state = 'waiting'").select("row_id")
    bad = rows.where(F.col("verdict.outcome") == QUARANTINE).select("row_id").distinct()
    good = rows.where(F.col("verdict.outcome") != QUARANTINE).select("row_id")
    leaving = of_kind.join(good, "row_id", "left_semi").join(bad, "row_id", "left_anti")
    return night.delete_matched(
        QUARANTINE_ROWS, leaving, f"stored.kind = {spark_text(kind)} AND stored.state = 'waiting'"
    )


def _warn_of_undeclared_fields(night: SparkNight, rows: DataFrame) -> None:
    names = rows.where(F.col("verdict.outcome") == GOOD).select(
        "source", F.explode(F.map_keys("rescued")).alias("field")
    )
    for source, fields in names.groupBy("source").agg(F.array_sort(F.collect_set("field"))).collect():
        night.tags[f"rescued:{source}"] = ", ".join(fields)
        print(f"warning: source '{source}' has fields that nobody declared: {', '.join(fields)}", file=sys.stderr)
