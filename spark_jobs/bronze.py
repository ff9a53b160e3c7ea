"""bronze.events, bronze.items, bronze.users: one row per record, unchanged. Landing folders, Kafka topics, tables ->
bronze.

A folder's new files are in its listing (landing.py, bronze_files.py); a topic is a stream of Spark; a table notes how
far it was read (bronze_tables.py). Each record lands exactly once, whatever is killed: the listing's commit, the
stream's checkpoint or the note defines a batch, and its number is a Delta transaction id that is written in one commit
with the batch's rows.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql.streaming.query import StreamingQuery

from nightloom import event_journal
from nightloom.contracts import BRONZE, QUARANTINE_ROWS, UNUSED_ROWS, Table
from nightloom.errors import ConcurrentRunError, DataError, NightloomError
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.places import Place, lock
from nightloom.settings import Source
from spark_jobs import database_rows, delta_rows, kafka, landing
from spark_jobs.bronze_files import (
    Batch,
    append_few,
    bronze_rows,
    group_batches,
    ingest_files,
    new_batches,
    source_stamp,
)
from spark_jobs.bronze_tables import ingest_table
from spark_jobs.commit_stamps import rows_written
from spark_jobs.context import SparkNight

ANOTHER_RUN = r"CONCURRENT|Concurrent\w+Exception|Multiple streaming|\w+ChangedException|is already active"

UNREADABLE = r"(?:PermissionError|IsADirectoryError|OSError): (\[Errno [^\n]*)|obstore\.exceptions\.(\w+Error: [^\n]*)"
"""The machine's error, or object storage's, in the message of a failed task."""


def start_stream(night: SparkNight, source: Source) -> StreamingQuery:
    """Start a topic's query. It reads what is available now, batch by batch, and ends."""
    table = BRONZE[source.kind]
    topic = kafka.read_topic(night.spark, source, accept_loss=_accepts_loss(night, source))
    return (
        bronze_rows(topic, source.name, night)
        .select(*table.column_names)
        .writeStream.format("delta")
        .queryName(source.name)
        .option("checkpointLocation", str(_source_folder(night, source) / "stream"))
        .option("userMetadata", source_stamp(night, source))
        .trigger(availableNow=True)
        .start(night.lake.path(table))
    )


def _accepts_loss(night: SparkNight, source: Source) -> bool:
    """Whether the run's arguments accept that a source has lost records; the record of its stage then says so."""
    if source.name not in (getattr(night.arguments, "accept_loss", None) or ()):
        return False
    night.tags["accepted_loss"] = ", ".join(filter(None, (night.tags.get("accepted_loss"), source.name)))
    return True


def _source_folder(night: SparkNight, source: Source) -> Place:
    """The folder of a source's state: the listing of its files, the checkpoint of its stream, the notes of its
    reads."""
    return night.lake.root / "_checkpoints" / source.name


def listing_of(night: SparkNight, source: Source) -> Place:
    """The listing of a source's landing files (landing.py)."""
    return _source_folder(night, source) / "files"


def reads_of(night: SparkNight, source: Source) -> Place:
    """The notes of how far a source's table was read (table_reads.py)."""
    return _source_folder(night, source) / "reads"


def count_landed(night: SparkNight, table: Table, since: int) -> Counter[str]:
    """Source -> rows that Spark added for this run after version `since`, from the table's log."""
    found: Counter[str] = Counter()
    for commit in night.lake.commits(table, since + 1):
        note = json.loads(commit.get("userMetadata") or "{}")
        if "source" in note and note["run_id"] == night.run_id:
            found[note["source"]] += rows_written(commit)
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
            night.lake.create(table)
        before = {table: night.lake.version(table) for table in BRONZE.values()}
        landed = _ingest(night)
        for table, version in before.items():
            landed += count_landed(night, table, version)
        night.counts |= {source.name: landed[source.name] for source in night.settings.sources}
        for kind, table in BRONZE.items():
            night.record_write(table, sum(landed[source.name] for source in night.settings.sources_of(kind)))


def _update_listings(night: SparkNight) -> None:
    event_journal.export_journal(night.settings)
    of_files = [source for source in night.settings.sources if source.is_of_files]
    for source in of_files:
        landing.landing_place(source, night.settings.root)
    for source in of_files:
        if unsettled := landing.update_listing(source, night.settings.root, listing_of(night, source)):
            night.tags[f"unsettled:{source.name}"] = ", ".join(unsettled)
            print(f"source '{source.name}': still being written, so left: {', '.join(unsettled)}", file=sys.stderr)


def _ingest(night: SparkNight) -> Counter[str]:
    """Ingest folders, then tables, and the topics beside them -> source -> rows that this process wrote.

    Raises the first error at the end.
    """
    errors: list[Exception] = []
    queries: list[tuple[Source, StreamingQuery]] = []
    topics = [source for source in night.settings.sources if source.format == "kafka"]
    if topics:
        # By default a second query of one checkpoint stops the first one silently.
        night.spark.conf.set("spark.sql.streaming.stopActiveRunOnRestart", "false")
    for source in topics:
        with _collect_error(source, errors):
            queries.append((source, start_stream(night, source)))
    landed = _ingest_folders(night, errors)
    for source in (source for source in night.settings.sources if source.is_table):
        with _collect_error(source, errors):
            ingest_table(night, source, reads_of(night, source), accept_loss=_accepts_loss(night, source))
    for source, query in queries:
        with _collect_error(source, errors):
            query.awaitTermination()
            if error := query.exception():
                raise error
    if errors:
        raise errors[0]
    return landed


def _ingest_folders(night: SparkNight, errors: list[Exception]) -> Counter[str]:
    """Ingest the new files of all folders -> source -> rows. Sources with few bytes share a commit: most of a small
    source's time would be its commit."""
    landed, few, alone = Counter[str](), list[Batch](), list[Source]()
    opened = {kind: night.lake.open(table) for kind, table in BRONZE.items()}
    for source in (source for source in night.settings.sources if source.is_of_files):
        with _collect_error(source, errors):
            new = new_batches(night, source, listing_of(night, source), opened[source.kind])
            if len(new) == 1 and new[0].is_small:
                few += new
            elif new:
                alone.append(source)
    for group in group_batches(few):
        try:
            landed += append_few(night, group)
        except Exception:  # of one of them, which raises it again below; the others are ingested
            alone += [batch.source for batch in group]
    for source in alone:
        with _collect_error(source, errors):
            landed += ingest_files(night, source, listing_of(night, source))
    return landed


@contextmanager
def _collect_error(source: Source, errors: list[Exception]) -> Iterator[None]:
    """Collect a source's error until the other sources have finished: one bad source does not stop them."""
    try:
        yield
    except Exception as error:  # raised in _ingest; classic Spark and Spark Connect have no common exception class
        errors.append(_translate_error(source, error))


OWN_ERRORS = {
    "kafka": kafka.translate_error,
    "delta": delta_rows.translate_error,
    "jdbc": database_rows.translate_error,
}


def _translate_error(source: Source, error: Exception) -> Exception:
    """Spark's error as one of ours; an unknown error is returned unchanged."""
    if isinstance(error, NightloomError):
        return error
    if re.search(ANOTHER_RUN, str(error)):
        return ConcurrentRunError(f"source '{source.name}': another run reads it right now; wait for its end.")
    # A task's error is not in the query's message; classic Spark and Spark Connect keep it under these names.
    own = f"{type(error).__module__}.{type(error).__name__}: {error}"
    message = "\n".join([own, *(str(getattr(error, name, "")) for name in ("_stackTrace", "_stacktrace"))])
    if failed := re.search(UNREADABLE, message):
        words = failed[1] or failed[2][:300]
        return DataError(f"source '{source.name}': {words}; mend that and run again, nothing of it was taken")
    translate = OWN_ERRORS.get(source.format)
    return (translate and translate(source, message)) or error


if __name__ == "__main__":
    text = "source to continue although Kafka or VACUUM deleted records of it before they were read; may be repeated"
    accept_loss = {"--accept-loss": {"action": "append", "metavar": "SOURCE", "help": text}}
    run_stage(stages.BRONZE, main, context=SparkNight, options=accept_loss)
