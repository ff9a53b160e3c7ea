"""A source's listed landing files -> bronze, one commit for each commit of the listing (landing.py).

The number of the listing's commit is a Delta transaction id, written in one commit with the rows: whatever is killed,
each file lands exactly once. Few bytes are read in the stage's own process, as a job of Spark would be all start-up;
many by Spark's Python workers. Both run the same reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from spark_jobs.landing import Row, listed_files
from spark_jobs.readers.record import Layout

FEW_BYTES = 32 << 20
"""The most bytes of a listing's commit that are read in this process: 1-2 million gzipped JSON events."""
ENTRIES = pa.schema([("file", pa.string()), ("modified", pa.timestamp("us", "UTC")), ("again", pa.bool_())])


def ingest_files(night: SparkNight, source: Source, listing: Place) -> None:
    """Append the records of the listed files that bronze does not have yet. An error leaves the commits before it."""
    application = _application(source, listing)
    done = _last_ingested(night, source, listing, application)
    new = [entry for entry in listed_files(listing) if entry["number"] > done]
    for number, group in groupby(new, itemgetter("number")):
        entries = list(group)
        append = _append_few if sum(entry["length"] for entry in entries) <= FEW_BYTES else _append_many
        append(night, source, entries, {"AppId": application, "Version": str(number)})


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


def _application(source: Source, listing: Place) -> str:
    """Delta's name for who writes: this source with this listing. A new listing counts its commits from 0."""
    return f"{source.name} from listing {DeltaTable(str(listing)).metadata().id}"


def _last_ingested(night: SparkNight, source: Source, listing: Place, application: str) -> int:
    """Number of the listing's last commit whose files bronze has; -1 before the first."""
    table = BRONZE[source.kind]
    done = night.lake.open(table).transaction_version(application)
    earlier_state = listing.parent / "stream"
    if done is None and earlier_state.exists():
        done = _last_of_stream(night, source, listing)
        transaction = {"AppId": application, "Version": str(done)}
        night.lake.append(table, [], stamp=commit_stamp(night), transaction=transaction)
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


def _append_few(night: SparkNight, source: Source, entries: Sequence[Row], transaction: dict[str, str]) -> None:
    table, errors = BRONZE[source.kind], list[Exception]()
    known = _known_rows(night, source, entries)  # here: delta-rs refuses a query inside its writer

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from _rows(night, source, entries, known)
        except Exception as error:
            errors.append(error)  # the writer knows its text only
            raise

    rows = pa.RecordBatchReader.from_batches(arrow_schema(table), batches())
    try:
        night.lake.append(table, rows, stamp=source_stamp(night, source), transaction=transaction)
    except Exception:
        if errors:
            raise errors[0] from None
        raise


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


def _append_many(night: SparkNight, source: Source, entries: Sequence[Row], transaction: dict[str, str]) -> None:
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
