"""A Parquet file's rows -> records. A row with a value that JSON cannot hold is a record that says so."""

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

from spark_jobs.readers.record import Found, Layout, Record, UnreadableFileError, shorten
from spark_jobs.readers.text import MARK, MARKING

ROWS = 4_096
UNREADABLE = object()
"""Stands for a value that Python cannot hold."""


def read_parquet(stream: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    """The records of a Parquet file. Raises UnreadableFileError."""
    with pq.ParquetFile(_seekable(stream)) as opened:
        names = _names(opened)
        found.missing += [name for name in layout.fields if name not in names]
        found.header = shorten(names)
        for batch in opened.iter_batches(ROWS):
            found.lines += batch.num_rows
            for record in _records(batch, names):
                found.undecoded += MARK in record[0]
                yield record


def _seekable(stream: BufferedReader) -> IO[bytes]:
    if isinstance(getattr(stream, "raw", None), FileIO):
        return stream
    copy = TemporaryFile()  # noqa: SIM115  # the reader closes it
    copyfileobj(stream, copy)
    return copy


def _names(opened: pq.ParquetFile) -> list[str]:
    try:
        names: list[str] = opened.schema_arrow.names
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"the name of a column is no text: {error}") from None
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UnreadableFileError(f"it has more than one column {', '.join(twice)}; it has {shorten(names)}")
    return names


def _records(batch: pa.RecordBatch, names: list[str]) -> Iterator[Record]:
    for values in zip(*map(_values, batch.columns), strict=True):
        row = dict(zip(names, values, strict=True))
        broken = [name for name, value in row.items() if value is UNREADABLE]
        for name in broken:
            del row[name]
        problem = f"the value of {', '.join(broken)} cannot be read" if broken else None
        # JSON has no NaN.
        yield _json({name: None if value != value else value for name, value in row.items()}), 1, problem


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        return list(map(_value, column))


def _value(scalar: pa.Scalar) -> Any:
    try:
        if isinstance(scalar, pa.StringScalar | pa.LargeStringScalar) and scalar.is_valid:
            return _decode(scalar.as_buffer().to_pybytes())
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return UNREADABLE


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=_text)


def _text(value: object) -> str:
    return _decode(value) if isinstance(value, bytes) else str(value)


def _decode(value: bytes) -> str:
    return value.decode("utf-8", MARKING)
