"""The new rows of a Delta table, or of a table of a database -> bronze, one commit for each read (table_reads.py)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import repeat

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE
from nightloom.lake import now
from nightloom.places import Place
from nightloom.settings import Source
from spark_jobs import database_rows, delta_rows
from spark_jobs.bronze_files import bronze_rows, source_stamp
from spark_jobs.context import SparkNight
from spark_jobs.files import RECORDS, SCHEMA
from spark_jobs.readers.arrow_rows import row_records
from spark_jobs.readers.explode import explode
from spark_jobs.readers.record import Layout, Record
from spark_jobs.table_reads import MODIFIED, NewRows, Read, Reads, note_read, noted_reads

NEW_ROWS = {"delta": delta_rows.new_rows, "jdbc": database_rows.new_rows}
"""Format -> the function of a night, a source and its reads that finds the new rows; None where there are none."""


def ingest_table(night: SparkNight, source: Source, place: Place, *, accept_loss: bool = False) -> None:
    """Append the rows that bronze does not have yet; `place` is that of the source's reads.

    `accept_loss`: the table is read as it is now, and not since the last read.
    """
    began, notes = now(), noted_reads(place)
    application = f"{source.name} from reads {DeltaTable(str(place)).metadata().id}"
    done = None if accept_loss else night.lake.open(BRONZE[source.kind]).transaction_version(application)
    if (new := NEW_ROWS[source.format](night, source, Reads(notes, done))) is None:
        return
    number = notes[-1].number + 1 if notes else 0
    note_read(place, Read(number, new.table, new.until, began))
    _append(night, source, new, {"AppId": application, "Version": str(number)})


def _append(night: SparkNight, source: Source, new: NewRows, transaction: dict[str, str]) -> None:
    table = BRONZE[source.kind]
    records = new.rows.mapInArrow(partial(read_rows, layout=Layout.of(source), file=file_of(source)), RECORDS)
    rows = bronze_rows(records, source.name, night)
    # An event is a fact; a description is valid from the moment that it is given. See bronze_files.py.
    if source.kind == "events" and new.repeated_since is not None:
        bronze = night.spark.read.format("delta").load(night.lake.path(table)).where(F.col("source") == source.name)
        known = bronze.where(F.col("ingested_at") >= F.lit(new.repeated_since.isoformat()).cast("timestamp"))
        rows = rows.dropDuplicates(["row_id"]).join(known.select("row_id"), "row_id", "left_anti")
    night.write(table, rows.select(*table.column_names), "append", transaction, source_stamp(night, source))


def file_of(source: Source) -> str:
    """What stands for the file of a table's record: the table's address."""
    return f"delta:{source.path}" if source.format == "delta" else f"{str(source.url).split('?')[0]}/{source.table}"


def read_rows(batches: Iterator[pa.RecordBatch], layout: Layout, file: str) -> Iterator[pa.RecordBatch]:
    """Batches of a table's rows with MODIFIED -> batches of RECORDS, on Spark's Python workers."""
    for batch in batches:
        names = [name for name in batch.schema.names if name != MODIFIED]
        rows = zip(row_records(batch.select(names), names), batch.column(MODIFIED), strict=True)
        found = [(*record, moment) for row, moment in rows for record in _records(row, layout)]
        texts, _, problems, moments = zip(*found, strict=True) if found else [()] * 4
        columns: dict[str, object] = {"raw": texts, "file": repeat(file, len(found)), "problem": problems}
        columns["file_modified_at"] = moments
        arrays = [
            pa.array(columns[each.name], each.type) if each.name in columns else pa.nulls(len(found), each.type)
            for each in SCHEMA
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _records(row: Record, layout: Layout) -> Iterator[Record]:
    return explode(iter([row]), layout) if layout.explode else iter([row])
