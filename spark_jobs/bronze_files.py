"""The listed landing files of sources -> bronze (landing.py).

The number of a listing's commit is a Delta transaction id, written in one commit with the rows: whatever is killed,
each file lands exactly once. Few bytes are read in the stage's own process, as a job of Spark would be all start-up;
many by Spark's Python workers. Both run the same reader. Sources with few bytes share a commit of bronze.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE
from nightloom.lake import arrow_schema, now
from nightloom.literals import one_of
from nightloom.places import Place, remove_tree, scheme_of, storage_variables
from nightloom.settings import Source
from spark_jobs import files
from spark_jobs.commit_stamps import commit_stamp
from spark_jobs.context import SparkNight
from spark_jobs.landing import Row, entries_of, listed_files
from spark_jobs.readers.record import Layout

FEW_BYTES = 32 << 20
"""The most bytes of a listing's commit that are read in this process: 1-2 million gzipped JSON events."""
ENTRIES = pa.schema([("file", pa.string()), ("modified", pa.timestamp("us", "UTC")), ("again", pa.bool_())])


@dataclass(frozen=True)
class Batch:
    """The files of one commit of a source's listing."""

    source: Source
    application: str
    """Delta's name for who writes: this source with this listing. A new listing counts its commits from 0."""
    number: int
    entries: Sequence[Row]

    @property
    def bytes(self) -> int:
        return sum(entry["length"] for entry in self.entries)

    @property
    def is_small(self) -> bool:
        """Whether it is read in this process."""
        return self.bytes <= FEW_BYTES


def new_batches(night: SparkNight, source: Source, listing: Place, bronze: DeltaTable) -> list[Batch]:
    """The batches that the opened table of bronze does not have, oldest first. They are appended in this order."""
    opened = DeltaTable(str(listing))
    application = f"{source.name} from listing {opened.metadata().id}"
    done = _last_ingested(night, source, listing, bronze.transaction_version(application), application)
    new = (entry for entry in entries_of(opened) if entry["number"] > done)
    return [Batch(source, application, number, list(group)) for number, group in groupby(new, itemgetter("number"))]


def group_batches(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Batches -> those of one kind that are few bytes together."""
    groups: list[list[Batch]] = []
    for batch in sorted(batches, key=lambda batch: batch.source.kind):
        last = groups[-1] if groups else []
        alike = last and last[0].source.kind == batch.source.kind
        if alike and sum(each.bytes for each in last) + batch.bytes <= FEW_BYTES:
            last.append(batch)
        else:
            groups.append([batch])
    return groups


def ingest_files(night: SparkNight, source: Source, listing: Place) -> Counter[str]:
    """Append a source's batches, a commit for each -> source -> rows, without those that Spark wrote: their commits
    name the source.

    An error leaves the commits before it.
    """
    landed = Counter[str]()
    for batch in new_batches(night, source, listing, night.lake.open(BRONZE[source.kind])):
        if batch.is_small:
            landed += append_few(night, [batch])
        else:
            _append_many(night, batch)
    return landed


def source_stamp(night: SparkNight, source: Source) -> str:
    """A commit's stamp that names the source, too."""
    return json.dumps({"source": source.name} | json.loads(commit_stamp(night)))


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


def _last_ingested(night: SparkNight, source: Source, listing: Place, done: int | None, application: str) -> int:
    """Number of the listing's last commit whose files bronze has; -1 before the first. `done`: by bronze's log."""
    table = BRONZE[source.kind]
    earlier_state = listing.parent / "stream"
    if done is None and earlier_state.exists():
        done = _last_of_stream(night, source, listing)
        night.lake.append(table, [], stamp=commit_stamp(night), transactions={application: done})
    if earlier_state.exists():
        remove_tree(earlier_state)
    return -1 if done is None else done


def _last_of_stream(night: SparkNight, source: Source, listing: Place) -> int:
    """Number of the last commit that a stream of Spark has read: so did releases before 2026-12, commit by commit.

    Judged by the rows. Files without one are read again, which adds none.
    """
    columns = ["DISTINCT file", "file_modified_at"]
    there = night.lake.rows(BRONZE[source.kind], one_of("source", [source.name]), columns)
    states = set(zip(there["file"].to_pylist(), there["file_modified_at"].cast(pa.int64()).to_pylist(), strict=True))
    taken = (row["number"] for row in listed_files(listing) if (row["file"], row["modified"]) in states)
    return max(taken, default=-1)


def append_few(night: SparkNight, batches: Sequence[Batch]) -> Counter[str]:
    """Append the rows of batches of one kind, in one commit -> source -> rows."""
    table, errors, counts = BRONZE[batches[0].source.kind], list[Exception](), Counter[str]()
    # Here: delta-rs refuses a query inside its writer.
    known = [_known_rows(night, batch.source, batch.entries) for batch in batches]

    def rows() -> Iterator[pa.RecordBatch]:
        try:
            for batch, those in zip(batches, known, strict=True):
                for some in _rows(night, batch.source, batch.entries, those):
                    counts[batch.source.name] += some.num_rows
                    yield some
        except Exception as error:
            errors.append(error)  # the writer knows its text only
            raise

    reader = pa.RecordBatchReader.from_batches(arrow_schema(table), rows())
    transactions = {batch.application: batch.number for batch in batches}
    try:
        night.lake.append(table, reader, stamp=commit_stamp(night), transactions=transactions)
    except Exception:
        if errors:
            raise errors[0] from None
        raise
    return counts


def _rows(night: SparkNight, source: Source, entries: Sequence[Row], known: set[str]) -> Iterator[pa.RecordBatch]:
    """The rows of the entries' files, without the known ones, a few thousand at a time. See bronze_rows()."""
    schema, read_at = arrow_schema(BRONZE[source.kind]), now()
    for batch in files.read_files(iter([_as_batch(entries)]), Layout.of(source), str(night.settings.root), {}):
        raw, file = batch["raw"].to_pylist(), batch["file"].to_pylist()
        texts = (f"{source.name}|{name}|{text}" for name, text in zip(file, raw, strict=True))
        ids = [sha256(text.encode()).hexdigest() for text in texts]
        of_all = {"source": source.name, "ingested_at": read_at, "night": night.date}
        columns = {name: batch[name] for name in files.SCHEMA.names} | {"row_id": pa.array(ids, pa.string())}
        for name, value in of_all.items():
            columns[name] = pa.repeat(pa.scalar(value, schema.field(name).type), len(ids))
        rows = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
        yield rows.filter(pa.array([each not in known for each in ids])) if known else rows


def _append_many(night: SparkNight, batch: Batch) -> None:
    source, entries = batch.source, batch.entries
    table = BRONZE[source.kind]
    # The workers may be on other machines, whose environment is not ours.
    variables = storage_variables() if scheme_of(source.path or "") else {}
    read = partial(files.read_files, layout=Layout.of(source), root=str(night.settings.root), variables=variables)
    at_once = int(night.spark.conf.get("spark.sql.shuffle.partitions") or 1)
    listed = night.spark.createDataFrame(pa.Table.from_batches([_as_batch(entries)])).repartition(at_once)
    rows = bronze_rows(listed.mapInArrow(read, files.RECORDS), source.name, night)
    if again := _relisted(source, entries):
        bronze = night.spark.read.format("delta").load(night.lake.path(table))
        rows = rows.join(bronze.where(F.col("file").isin(again)).select("row_id"), "row_id", "left_anti")
    transaction = {"AppId": batch.application, "Version": str(batch.number)}
    night.write(table, rows.select(*table.column_names), "append", transaction, source_stamp(night, source))


def _known_rows(night: SparkNight, source: Source, entries: Sequence[Row]) -> set[str]:
    """Ids of the rows that earlier states of the same files brought."""
    if not (again := _relisted(source, entries)):
        return set()
    return set(night.lake.rows(BRONZE[source.kind], one_of("file", again), ["row_id"])["row_id"].to_pylist())


def _relisted(source: Source, entries: Sequence[Row]) -> list[str]:
    """The files whose earlier state was read, and of which only new records count.

    An event is a fact: a file that has grown brings only its new events. A description is valid from the moment that
    it is given: a rewritten file of items or users counts completely.
    """
    return [entry["file"] for entry in entries if entry["again"]] if source.kind == "events" else []


def _as_batch(entries: Sequence[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(entries), schema=ENTRIES)
