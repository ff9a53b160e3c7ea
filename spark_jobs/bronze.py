"""bronze.events, bronze.items, bronze.users: one row per record, as it came. Landing folders, Kafka topics -> bronze.

Structured Streaming: a source is a stream, of a topic's messages or of a folder's listing (see landing.py), and each
record lands exactly once, whatever dies on the way: the stream's checkpoint says what a batch is made of, and the batch
is a Delta transaction id, written in one commit with its rows.
"""

from __future__ import annotations

import fcntl
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from nightloom.contracts import BRONZE, QUARANTINE_ROWS, Table
from nightloom.errors import ConcurrentRunError, DataError
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.settings import Source
from spark_jobs import files, kafka, landing
from spark_jobs.context import SparkNight

ANOTHER_RUN = r"CONCURRENT|Concurrent\w+Exception|Multiple streaming|\w+ChangedException|is already active"


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


def stream(night: SparkNight, source: Source) -> StreamingQuery:
    """Start a source's query: it takes what is there now, batch by batch, then ends."""
    table, new = BRONZE[source.kind], _messages if source.format == "kafka" else _records
    return (
        rows(new(night, source), source.name, night)
        .transform(lambda made: _without_known(night, source, made))
        .select(*table.column_names)
        .writeStream.format("delta")
        .queryName(source.name)
        .option("checkpointLocation", str(_folder(night, source) / "stream"))
        .option("userMetadata", json.dumps({"source": source.name} | json.loads(night.stamp)))
        .trigger(availableNow=True)
        .start(night.lake.path(table))
    )


def _messages(night: SparkNight, source: Source) -> DataFrame:
    """The records of a topic."""
    if accept_loss := source.name in (getattr(night.arguments, "accept_loss", None) or ()):
        night.tags["accepted_loss"] = ", ".join(filter(None, (night.tags.get("accepted_loss"), source.name)))
    return kafka.messages(night.spark, source, accept_loss=accept_loss)


def _records(night: SparkNight, source: Source) -> DataFrame:
    """The records of a folder's listed files, commit by commit."""
    read = partial(files.read, format=source.format, root=str(night.settings.root))
    at_once = int(night.spark.conf.get("spark.sql.shuffle.partitions") or 1)
    listed = night.spark.readStream.format("delta").option("maxFilesPerTrigger", 1).load(str(_listing(night, source)))
    files_of = listed.select("file", F.timestamp_micros("modified").alias("modified")).repartition(at_once)
    return files_of.mapInArrow(read, files.RECORDS)


def _without_known(night: SparkNight, source: Source, new: DataFrame) -> DataFrame:
    """Without what came out of the same file before, when the file was listed again.

    An event is a fact: a file that has grown brings only what is new in it. A description holds from the moment that
    it is given, so a file of items or users that was rewritten counts as a whole.
    """
    if source.kind != "events" or source.format == "kafka":
        return new
    again = landing.again(_listing(night, source))
    if not again:
        return new
    there = night.spark.read.format("delta").load(night.lake.path(BRONZE[source.kind]))
    return new.join(there.where(F.col("file").isin(again)).select("row_id"), "row_id", "left_anti")


def _folder(night: SparkNight, source: Source) -> Path:
    """What is remembered of a source: its files, its stream's checkpoint."""
    return night.lake.root / "_checkpoints" / source.name


def _listing(night: SparkNight, source: Source) -> Path:
    return _folder(night, source) / "files"


def landed(night: SparkNight, table: Table, since: int) -> Counter[str]:
    """Source -> rows that this run added after version `since`, as the table's log says."""
    found: Counter[str] = Counter()
    for commit in night.lake.open(table).history(night.lake.version(table) - since):
        note = json.loads(commit.get("userMetadata") or "{}")
        if "source" in note and note["run_id"] == night.run_id:
            found[note["source"]] += int(commit["operationMetrics"]["numOutputRows"])
    return found


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One ingest at a time into a lake. Raises ConcurrentRunError; the lock ends with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConcurrentRunError(f"another run ingests into {folder.parent} right now; wait for its end.") from None
        yield


def main(night: SparkNight) -> None:
    """Ingest what is new in every source."""
    with alone(night.lake.root / "_checkpoints"):
        _note_files(night)
        # Quarantine too, for the silver stages run side by side, and two that make one table may collide.
        for table in (*BRONZE.values(), QUARANTINE_ROWS):
            night.create(table)
        before = {table: night.lake.version(table) for table in BRONZE.values()}
        _ingest(night)
        night.counts |= {source.name: 0 for source in night.settings.sources}
        for table, version in before.items():
            new = landed(night, table, version)
            night.counts |= new
            night.record_write(table, new.total())


def _note_files(night: SparkNight) -> None:
    of_files = [source for source in night.settings.sources if source.format != "kafka"]
    for source in of_files:
        landing.folder(source, night.settings.root)
    for source in of_files:
        if unsettled := landing.note(source, night.settings.root, _listing(night, source)):
            night.tags[f"unsettled:{source.name}"] = ", ".join(unsettled)
            print(f"source '{source.name}': still being written, so left: {', '.join(unsettled)}", file=sys.stderr)


def _ingest(night: SparkNight) -> None:
    """Take what is new in each source, side by side. Raises the first error."""
    # A second query of one checkpoint would stop the first one without a word.
    night.spark.conf.set("spark.sql.streaming.stopActiveRunOnRestart", "false")
    errors: list[Exception] = []
    queries: list[tuple[Source, StreamingQuery]] = []
    for source in night.settings.sources:
        with _explained(source, errors):
            queries.append((source, stream(night, source)))
    for source, query in queries:
        with _explained(source, errors):
            query.awaitTermination()
            if error := query.exception():
                raise error
    if errors:
        raise errors[0]


@contextmanager
def _explained(source: Source, errors: list[Exception]) -> Iterator[None]:
    """Keep a source's error for when the other sources are done too: they are not to suffer from it."""
    try:
        yield
    except Exception as error:  # raised in _ingest; Spark inside and Spark Connect have no common class for theirs
        errors.append(_meaning(source, error))


def _meaning(source: Source, error: Exception) -> Exception:
    """What Spark's error says to a person; Spark's own where it is not one of the known."""
    if re.search(ANOTHER_RUN, str(error)):
        return ConcurrentRunError(f"source '{source.name}': another run reads it right now; wait for its end.")
    # A task's error is not in the query's own text; Spark inside and Spark Connect keep it under these names.
    told = "\n".join([str(error), *(str(getattr(error, name, "")) for name in ("_stackTrace", "_stacktrace"))])
    if failed := re.search(r"(?:PermissionError|IsADirectoryError|OSError): (\[Errno [^\n]*)", told):
        return DataError(f"source '{source.name}': {failed[1]}; mend that and run again, nothing of it was taken")
    return (source.format == "kafka" and kafka.meaning(source, told)) or error


if __name__ == "__main__":
    told = "Kafka source that goes on though Kafka deleted messages of it before they were read; may be repeated"
    accept_loss = {"--accept-loss": {"action": "append", "metavar": "SOURCE", "help": told}}
    run_stage(stages.BRONZE, main, context=SparkNight, options=accept_loss)
