"""bronze.events, bronze.items, bronze.users: one row per record, unchanged. Landing folders, Kafka topics -> bronze.

Structured Streaming: a source is a stream, of a topic's messages or of a folder's listing (see landing.py). Each record
lands exactly once, whatever is killed: the stream's checkpoint defines a batch, and the batch number is a Delta
transaction id that is written in one commit with the batch's rows.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from nightloom import event_journal
from nightloom.contracts import BRONZE, QUARANTINE_ROWS, UNUSED_ROWS, Table
from nightloom.errors import ConcurrentRunError, DataError
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.places import Place, lock, scheme_of, storage_variables
from nightloom.settings import Source
from spark_jobs import files, kafka, landing
from spark_jobs.commit_stamps import commit_stamp
from spark_jobs.context import SparkNight
from spark_jobs.readers.record import Layout

ANOTHER_RUN = r"CONCURRENT|Concurrent\w+Exception|Multiple streaming|\w+ChangedException|is already active"

UNREADABLE = r"(?:PermissionError|IsADirectoryError|OSError): (\[Errno [^\n]*)|obstore\.exceptions\.(\w+Error: [^\n]*)"
"""The machine's error, or object storage's, in the message of a failed task."""


def bronze_rows(records: DataFrame, source: str, night: SparkNight) -> DataFrame:
    """Records -> bronze rows. Equal records of one file get one id."""
    return records.select(
        F.sha2(F.concat_ws("|", F.lit(source), "file", "raw"), 256).alias("row_id"),
        F.lit(source).alias("source"),
        "raw",
        "file",
        "file_modified_at",
        "lines",
        "problem",
        "file_summary",
        F.current_timestamp().alias("ingested_at"),
        F.lit(night.date).alias("night"),
    )


def start_stream(night: SparkNight, source: Source) -> StreamingQuery:
    """Start a source's query. It reads what is available now, batch by batch, and ends."""
    table, new = BRONZE[source.kind], _topic_records if source.format == "kafka" else _file_records
    return (
        bronze_rows(new(night, source), source.name, night)
        .transform(lambda new_rows: _drop_known_rows(night, source, new_rows))
        .select(*table.column_names)
        .writeStream.format("delta")
        .queryName(source.name)
        .option("checkpointLocation", str(_source_folder(night, source) / "stream"))
        .option("userMetadata", json.dumps({"source": source.name} | json.loads(commit_stamp(night))))
        .trigger(availableNow=True)
        .start(night.lake.path(table))
    )


def _topic_records(night: SparkNight, source: Source) -> DataFrame:
    """The records of a topic."""
    if accept_loss := source.name in (getattr(night.arguments, "accept_loss", None) or ()):
        night.tags["accepted_loss"] = ", ".join(filter(None, (night.tags.get("accepted_loss"), source.name)))
    return kafka.read_topic(night.spark, source, accept_loss=accept_loss)


def _file_records(night: SparkNight, source: Source) -> DataFrame:
    """The records of a folder's listed files, commit by commit."""
    layout = Layout.of(source)
    # The workers may be on other machines, whose environment is not ours.
    variables = storage_variables() if scheme_of(source.path or "") else {}
    read = partial(files.read_files, layout=layout, root=str(night.settings.root), variables=variables)
    at_once = int(night.spark.conf.get("spark.sql.shuffle.partitions") or 1)
    # Maintenance removes rows from a listing: commits that do are passed over.
    options = {"maxFilesPerTrigger": "1", "skipChangeCommits": "true"}
    listed = night.spark.readStream.format("delta").options(**options).load(str(listing_of(night, source)))
    files_of = listed.select("file", F.timestamp_micros("modified").alias("modified"), "again").repartition(at_once)
    return files_of.mapInArrow(read, files.RECORDS)


def _drop_known_rows(night: SparkNight, source: Source, new: DataFrame) -> DataFrame:
    """Drop rows that an earlier state of the same file brought, where the file was listed again.

    An event is a fact: a file that has grown brings only its new events. A description is valid from the moment that
    it is given: a rewritten file of items or users counts completely.
    """
    if source.kind != "events" or source.format == "kafka":
        return new
    relisted = landing.relisted_files(listing_of(night, source))
    if not relisted:
        return new
    bronze = night.spark.read.format("delta").load(night.lake.path(BRONZE[source.kind]))
    return new.join(bronze.where(F.col("file").isin(relisted)).select("row_id"), "row_id", "left_anti")


def _source_folder(night: SparkNight, source: Source) -> Place:
    """The folder of a source's state: the listing of its files, the checkpoint of its stream."""
    return night.lake.root / "_checkpoints" / source.name


def listing_of(night: SparkNight, source: Source) -> Place:
    """The listing of a source's landing files (landing.py)."""
    return _source_folder(night, source) / "files"


def count_landed(night: SparkNight, table: Table, since: int) -> Counter[str]:
    """Source -> rows that this run added after version `since`, from the table's log."""
    found: Counter[str] = Counter()
    for commit in night.lake.commits(table, since + 1):
        note = json.loads(commit.get("userMetadata") or "{}")
        if "source" in note and note["run_id"] == night.run_id:
            found[note["source"]] += int(commit["operationMetrics"]["numOutputRows"])
    return found


@contextmanager
def exclusive_lock(place: Place) -> Iterator[None]:
    """Lock a lake against a second ingest. Raises ConcurrentRunError."""
    try:
        with lock.exclusive_lock(place):
            yield
    except lock.HeldError:
        raise ConcurrentRunError(f"another run ingests into {place.parent} right now; wait for its end.") from None
    except lock.LostError:
        raise ConcurrentRunError(f"this run was cut off from {place.parent}, and another one may ingest.") from None


def main(night: SparkNight) -> None:
    """Ingest the new records of every source."""
    with exclusive_lock(night.lake.root / "_checkpoints"):
        _update_listings(night)
        # Quarantine too: the silver stages run in parallel, and two stages that create one table may collide.
        for table in (*BRONZE.values(), QUARANTINE_ROWS, UNUSED_ROWS):
            night.create(table)
        before = {table: night.lake.version(table) for table in BRONZE.values()}
        _ingest(night)
        night.counts |= {source.name: 0 for source in night.settings.sources}
        for table, version in before.items():
            new = count_landed(night, table, version)
            night.counts |= new
            night.record_write(table, new.total())


def _update_listings(night: SparkNight) -> None:
    event_journal.export_journal(night.settings)
    of_files = [source for source in night.settings.sources if source.format != "kafka"]
    for source in of_files:
        landing.landing_place(source, night.settings.root)
    for source in of_files:
        if unsettled := landing.update_listing(source, night.settings.root, listing_of(night, source)):
            night.tags[f"unsettled:{source.name}"] = ", ".join(unsettled)
            print(f"source '{source.name}': still being written, so left: {', '.join(unsettled)}", file=sys.stderr)


def _ingest(night: SparkNight) -> None:
    """Ingest all sources in parallel. Raises the first error."""
    # By default a second query of one checkpoint stops the first one silently.
    night.spark.conf.set("spark.sql.streaming.stopActiveRunOnRestart", "false")
    errors: list[Exception] = []
    queries: list[tuple[Source, StreamingQuery]] = []
    for source in night.settings.sources:
        with _collect_error(source, errors):
            queries.append((source, start_stream(night, source)))
    for source, query in queries:
        with _collect_error(source, errors):
            query.awaitTermination()
            if error := query.exception():
                raise error
    if errors:
        raise errors[0]


@contextmanager
def _collect_error(source: Source, errors: list[Exception]) -> Iterator[None]:
    """Collect a source's error until the other sources have finished: one bad source does not stop them."""
    try:
        yield
    except Exception as error:  # raised in _ingest; classic Spark and Spark Connect have no common exception class
        errors.append(_translate_error(source, error))


def _translate_error(source: Source, error: Exception) -> Exception:
    """Spark's error as one of ours; an unknown error is returned unchanged."""
    if re.search(ANOTHER_RUN, str(error)):
        return ConcurrentRunError(f"source '{source.name}': another run reads it right now; wait for its end.")
    # A task's error is not in the query's message; classic Spark and Spark Connect keep it under these names.
    message = "\n".join([str(error), *(str(getattr(error, name, "")) for name in ("_stackTrace", "_stacktrace"))])
    if failed := re.search(UNREADABLE, message):
        words = failed[1] or failed[2][:300]
        return DataError(f"source '{source.name}': {words}; mend that and run again, nothing of it was taken")
    return (source.format == "kafka" and kafka.translate_error(source, message)) or error


if __name__ == "__main__":
    text = "Kafka source to continue although Kafka deleted messages of it before they were read; may be repeated"
    accept_loss = {"--accept-loss": {"action": "append", "metavar": "SOURCE", "help": text}}
    run_stage(stages.BRONZE, main, context=SparkNight, options=accept_loss)
