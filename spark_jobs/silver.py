"""The way every silver table takes: new bronze rows -> judged -> bad ones to quarantine, good ones merged, all counted.

read = inserted + updated + duplicates + quarantined + skipped, for each table and night. A line that is in one file
twice counts as one and a duplicate, whatever its verdict.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE, QUARANTINE_ROWS, Table
from spark_jobs.context import SparkNight
from spark_jobs.parsing import GOOD, QUARANTINE, SKIP, parsed

NEWER = "came.updated_at > kept.updated_at OR (came.updated_at = kept.updated_at AND came.row_id > kept.row_id)"
"""Row id decides between two descriptions of one moment: any order of delivery ends in the same table."""
Transform = Callable[[DataFrame], DataFrame]


def refine(
    night: SparkNight,
    kind: str,
    table: Table,
    *,
    types: Mapping[str, str],
    judge: Transform,
    transform: Transform,
    update: str | None = None,
) -> None:
    """Take what is new in the kind's bronze table into `table`.

    `judge` gives parsed rows their verdict, `transform` makes the table's rows of the good ones, keys distinct.
    """
    bronze = BRONZE[kind]
    sources = [source for source in night.settings.sources if source.kind == kind]
    night.create(table)
    night.create(QUARANTINE_ROWS)
    there = night.lake.distinct_in_log(bronze, ("source",), night.pin(bronze))
    named = {(source.name,) for source in sources}
    strangers = there is None or not there <= named
    with kept(slim(judge(parsed(night.changed(bronze, into=table), sources, types, strangers)))) as rows:
        counts = tally(rows)
        if counts["quarantined"]:
            night.add(QUARANTINE_ROWS, quarantined(rows, kind, night), taken=bronze)
        inserted = updated = 0
        if counts["read"]:
            good = transform(rows.where(F.col("verdict.outcome") == GOOD)).withColumn("night", F.lit(night.date))
            inserted, updated = night.merge(table, good, taken=bronze, update=update)
        if counts["rescued"]:
            _tell(night, rows)
        if night.everything:
            night.counts["left quarantine"] = _let_go(night, rows, kind)
    night.record_write(table, inserted + updated)
    left = counts["read"] - inserted - updated - counts["quarantined"] - counts["skipped"]
    night.counts |= counts | {"inserted": inserted, "updated": updated, "duplicates": left}


def slim(rows: DataFrame) -> DataFrame:
    """Without the records that nobody will ask for again: to keep them costs more than all else."""
    return rows.withColumn("raw", F.when(F.col("verdict.outcome") == QUARANTINE, F.col("raw")))


@contextmanager
def kept(rows: DataFrame) -> Iterator[DataFrame]:
    """The rows, computed once however often they are used.

    On the disk, which in fact is memory that Java's collector need not look through, for as long as there is some.
    """
    rows.persist(StorageLevel.DISK_ONLY)
    try:
        yield rows
    finally:
        rows.unpersist()


def tally(rows: DataFrame) -> dict[str, int]:
    """Judged rows -> read, quarantined and quarantined:REASON, skipped and skipped:RULE, rescued."""
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
    if counts["quarantined"]:  # one line, twice in one file: one row of quarantine
        bad = rows.where(F.col("verdict.outcome") == QUARANTINE)
        counts["quarantined"] = bad.select("row_id").distinct().count()
    return dict(counts)


def quarantined(rows: DataFrame, kind: str, night: SparkNight) -> DataFrame:
    """Judged rows -> quarantine.rows: the bad ones."""
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


def one_of(key: str, *order: Column) -> Transform:
    """Keep the first row of each key in this order."""
    first = Window.partitionBy(key).orderBy(*order)
    return lambda rows: rows.withColumn("_place", F.row_number().over(first)).where("_place = 1").drop("_place")


def latest(key: str) -> Transform:
    """Keep the last description of each key; one without a time of its own has its file's."""
    last = one_of(key, F.desc("updated_at"), F.desc("row_id"))
    return lambda rows: last(rows.withColumn("updated_at", F.coalesce("updated_at", "file_modified_at")))


def _let_go(night: SparkNight, rows: DataFrame, kind: str) -> int:
    """After all rows were judged anew: those of the kind that wait in quarantine and are bad no more leave it."""
    bad = rows.where(F.col("verdict.outcome") == QUARANTINE).select("row_id").distinct()
    return night.delete_unless(QUARANTINE_ROWS, bad, f"kept.kind = '{kind}' AND kept.state = 'waiting'")


def _tell(night: SparkNight, rows: DataFrame) -> None:
    names = rows.where(F.col("verdict.outcome") == GOOD).select(
        "source", F.explode(F.map_keys("rescued")).alias("field")
    )
    for source, fields in names.groupBy("source").agg(F.array_sort(F.collect_set("field"))).collect():
        night.tags[f"rescued:{source}"] = ", ".join(fields)
        print(f"warning: source '{source}' has fields that nobody declared: {', '.join(fields)}", file=sys.stderr)
