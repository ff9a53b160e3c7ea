"""Rows of Arrow, such as a Parquet or ORC file's -> records. A value that JSON cannot hold is named in its record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader, FileIO
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

from spark_jobs.readers.record import Found, Layout, Record, UnreadableFileError, shorten
from spark_jobs.readers.text import MARK, MARKING

ROWS = 4_096
UNREADABLE = object()
"""Stands for a value that Python cannot hold."""
FAULTS = (ValueError, OverflowError, KeyError, pa.ArrowException)
"""What Arrow raises for such a value; KeyError: a map that has a key twice."""


def read_parquet(stream: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    """The records of a Parquet file. Raises UnreadableFileError."""
    # Nanoseconds, which Arrow takes for an int96 otherwise, end in the year 2262.
    with _seekable(stream) as file, pq.ParquetFile(file, coerce_int96_timestamp_unit="us") as opened:
        names = _names(opened.schema_arrow)
        batches = (_with_zone(batch, _int96_columns(opened)) for batch in opened.iter_batches(ROWS))
        yield from _read(batches, names, layout, found)


def read_orc(stream: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    """The records of an ORC file, a stripe in memory at a time. Raises UnreadableFileError."""
    with _seekable(stream) as file:
        opened = orc.ORCFile(pa.PythonFile(file, mode="r"))
        names = _names(opened.schema)
        stripes = map(opened.read_stripe, range(opened.nstripes))
        batches = (stripe.slice(start, ROWS) for stripe in stripes for start in range(0, stripe.num_rows, ROWS))
        yield from _read(batches, names, layout, found)


def _read(batches: Iterator[pa.RecordBatch], names: list[str], layout: Layout, found: Found) -> Iterator[Record]:
    found.missing += [name for name in layout.fields if name not in names]
    found.header = shorten(names)
    for batch in batches:
        found.lines += batch.num_rows
        for record in row_records(batch, names):
            found.undecoded += MARK in record[0]
            yield record


def _seekable(stream: BufferedReader) -> IO[bytes]:
    if isinstance(getattr(stream, "raw", None), FileIO):
        return stream
    copy = TemporaryFile()  # noqa: SIM115  # the caller closes it
    try:
        copyfileobj(stream, copy)
    except BaseException:  # a damaged archive
        copy.close()
        raise
    return copy


def _names(schema: pa.Schema) -> list[str]:
    try:
        names: list[str] = schema.names
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"the name of a column is no text: {error}") from None
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UnreadableFileError(f"it has more than one column {', '.join(twice)}; it has {shorten(names)}")
    return names


def _int96_columns(opened: pq.ParquetFile) -> list[str]:
    """The columns of type int96: writers of such files (Spark, Hive, Impala) store moments in UTC in them."""
    columns = map(opened.schema.column, range(len(opened.schema)))
    return [column.path for column in columns if column.physical_type == "INT96" and column.path == column.name]


def _with_zone(batch: pa.RecordBatch, int96: list[str]) -> pa.RecordBatch:
    for name in int96:
        place = batch.schema.get_field_index(name)
        batch = batch.set_column(place, name, batch.column(place).cast(pa.timestamp("us", "UTC")))
    return batch


def row_records(batch: pa.RecordBatch, names: list[str]) -> Iterator[Record]:
    """A record for each row of a batch with columns of these names."""
    for values in zip(*map(_values, batch.columns), strict=True):
        row = dict(zip(names, values, strict=True))
        broken = [name for name, value in row.items() if value is UNREADABLE]
        for name in broken:
            del row[name]
        problem = f"the value of {', '.join(broken)} cannot be read" if broken else None
        yield json.dumps(row, ensure_ascii=False, default=as_text), 1, problem


def _values(column: pa.Array) -> list[Any]:
    """The values of a column as JSON can hold them."""
    simple = not pa.types.is_nested(column.type)
    try:
        values = column.to_pylist(maps_as_pydicts="strict")
    except FAULTS:
        return [value if simple or value is UNREADABLE else json_ready(value) for value in map(_value, column)]
    if pa.types.is_floating(column.type):
        return [value if value == value else None for value in values]  # JSON has no NaN
    return list(values) if simple else list(map(json_ready, values))


def _value(scalar: pa.Scalar) -> Any:
    try:
        if isinstance(scalar, pa.StringScalar | pa.LargeStringScalar) and scalar.is_valid:
            return _decode(scalar.as_buffer().to_pybytes())
        return scalar.as_py(maps_as_pydicts="strict")
    except FAULTS:
        return UNREADABLE


def json_ready(value: Any) -> Any:
    """A nested value without NaN, and with texts as the keys of its maps."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else as_text(key): json_ready(each) for key, each in value.items()}
    if isinstance(value, list):
        return [json_ready(each) for each in value]
    return value if value == value else None


def as_text(value: object) -> str:
    """A value that JSON does not have, as text."""
    return _decode(value) if isinstance(value, bytes) else str(value)


def _decode(value: bytes) -> str:
    return value.decode("utf-8", MARKING)
