"""bronze.events, bronze.items, bronze.users: one row per record, as it came. Landing folders -> bronze.

Structured Streaming lists each source's folder and hands over the files it has not seen; the checkpoint remembers the
files and the Delta sink the batch, so each file lands exactly once whatever dies on the way.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from nightloom.errors import SettingsError
from nightloom.manifest import run_stage
from nightloom.settings import Source
from nightloom.tables import BRONZE, QUARANTINE_ROWS, Table
from spark_jobs import files
from spark_jobs.night import SparkNight

LISTING = "path string, modificationTime timestamp, length long, content binary"  # Spark's; content is never read
FOR_EVER = "36500d"  # Spark forgets to look at a file that is a week older than the newest, without a word


def records(listing: DataFrame, source: Source, root: Path) -> DataFrame:
    """Files of one source -> its records with file and time."""
    read = partial(files.read, format=source.format, root=str(root))
    return listing.select("path", "modificationTime").mapInArrow(read, files.RECORDS)


def rows(records: DataFrame, source: str, night: SparkNight) -> DataFrame:
    """Records -> bronze rows. The same record of one file has one id, however often it is in it."""
    return records.select(
        F.sha2(F.concat_ws("|", F.lit(source), "file", "raw"), 256).alias("row_id"),
        F.lit(source).alias("source"),
        "raw",
        "file",
        "file_modified_at",
        F.current_timestamp().alias("ingested_at"),
        F.lit(night.date).alias("night"),
    )


def ingest(night: SparkNight, source: Source) -> StreamingQuery:
    """Start one source's query: it takes what is there now, then ends."""
    table, root = BRONZE[source.kind], night.settings.root
    listing = (
        night.spark.readStream.format("binaryFile")
        .schema(LISTING)
        .option("recursiveFileLookup", "true")
        .option("maxFileAge", FOR_EVER)
        .load(str(folder(source, root)))
    )
    return (
        rows(records(listing, source, root), source.name, night)
        .select(*table.column_names)
        .writeStream.format("delta")
        .queryName(source.name)
        .option("checkpointLocation", str(night.lake.root / "_checkpoints" / source.name))
        .option("userMetadata", json.dumps({"source": source.name} | json.loads(night.stamp)))
        .trigger(availableNow=True)
        .start(night.lake.path(table))
    )


def folder(source: Source, root: Path) -> Path:
    """The landing folder. Raises SettingsError when it is not there."""
    place = root / source.path
    if not place.is_dir():
        raise SettingsError(f"source '{source.name}': there is no folder {place}; make it, or mend its `path`")
    return place


def landed(night: SparkNight, table: Table, since: int) -> Counter[str]:
    """Source -> rows added after version `since`, as the table's log says."""
    found: Counter[str] = Counter()
    for commit in night.lake.open(table).history(night.lake.version(table) - since):
        found[json.loads(commit["userMetadata"])["source"]] += int(commit["operationMetrics"]["numOutputRows"])
    return found


def main(night: SparkNight) -> None:
    """Ingest every source's new files."""
    for source in night.settings.sources:
        folder(source, night.settings.root)
    # Quarantine too, for the silver stages run side by side, and two that make one table may collide.
    for table in (*BRONZE.values(), QUARANTINE_ROWS):
        night.create(table)
    before = {table: night.lake.version(table) for table in BRONZE.values()}
    queries = [ingest(night, source) for source in night.settings.sources]
    for query in queries:
        query.awaitTermination()
        if error := query.exception():
            raise error
    night.counts |= {source.name: 0 for source in night.settings.sources}
    for table, version in before.items():
        new = landed(night, table, version)
        night.counts |= new
        night.wrote(table, new.total())


if __name__ == "__main__":
    run_stage("spark_jobs.bronze", main, frame=SparkNight)
