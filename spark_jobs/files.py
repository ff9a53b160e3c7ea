"""Landing files -> their records as JSON text, one by one, on Spark's Python workers; bounded memory, nothing dropped.

landing.py finds the new files; this module reads them, in Python instead of with Spark's own readers. Each csv file may
have its own header: another column or another order next month is no fault. A row with too many fields or a truncated
gzip file becomes an unreadable record, and the good rows around it are read.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BufferedReader, StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

RECORDS = "raw string, file string, file_modified_at timestamp"
JOINED_OBJECTS = re.compile(r"\}\s*\{")
RECORDS_PER_BATCH = 4_096
READ_AHEAD = 1 << 20
MAX_CSV_FIELD = 16 << 20  # a quote that is never closed swallows at most this much of a csv file
DAMAGE_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException)

SCHEMA = pa.schema([("raw", pa.string()), ("file", pa.string()), ("file_modified_at", pa.timestamp("us", "UTC"))])


def read_files(batches: Iterator[pa.RecordBatch], format: str, root: str) -> Iterator[pa.RecordBatch]:
    """Batches of (file, modified), `file` relative to `root` or absolute -> batches of RECORDS."""
    for batch in batches:
        for name, modified in zip(batch["file"].to_pylist(), batch["modified"].to_pylist(), strict=True):
            yield from _batches(read_records(Path(root, name), format), name, modified)


def read_records(file: Path, format: str) -> Iterator[str]:
    """Each record of a file: a JSON object, or the unchanged line where it cannot be read.

    A damaged or missing file gives the records before the damage, then one record that describes it. Raises OSError
    where the machine is at fault and not the file (no permission, a failing disk).
    """
    number = 0
    try:
        for record in READERS[format](file):
            yield record
            number += 1
    except DAMAGE_ERRORS as error:
        if getattr(error, "errno", None) is not None and not isinstance(error, FileNotFoundError):
            raise  # an OSError of a decompression library has no number
        yield f"(file damaged after {number:,} records: {error})"


def _batches(records: Iterator[str], name: str, modified: datetime) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(records, RECORDS_PER_BATCH)):
        columns = [
            pa.array(chunk, pa.string()),
            pa.repeat(name, len(chunk)),
            pa.repeat(pa.scalar(modified, SCHEMA.types[2]), len(chunk)),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _text(file: Path) -> TextIO:
    """The file as text, decompressed when its name ends in .gz or .zst; bytes that are not UTF-8 become \\xNN."""
    return TextIOWrapper(_bytes(file), encoding="utf-8-sig", errors="backslashreplace", newline="")


def _bytes(file: Path) -> BinaryIO:
    if file.suffix == ".gz":
        return cast("BinaryIO", gzip.open(file))
    if file.suffix == ".zst":  # Arrow's reader: the zstandard package does not notice a truncated file
        return BufferedReader(pa.input_stream(str(file), compression="zstd"), READ_AHEAD)
    return file.open("rb")


def _lines(file: Path) -> Iterator[str]:
    with _text(file) as text:
        for line in text:
            if stripped := line.strip():
                yield from _split_objects(stripped) if JOINED_OBJECTS.search(stripped) else [stripped]


def _split_objects(line: str) -> Iterator[str]:
    """The objects of a line in which newlines are missing; the rest after them unchanged."""
    decoder, start = json.JSONDecoder(), 0
    while start < len(line):
        try:
            _, end = decoder.raw_decode(line, start)
        except ValueError:
            yield line[start:]
            return
        yield line[start:end]
        start = end + len(line[end:]) - len(line[end:].lstrip())


def _csv(file: Path) -> Iterator[str]:
    csv.field_size_limit(MAX_CSV_FIELD)
    with _text(file) as text:
        rows = csv.reader(text)
        header = [name.strip() for name in next(rows, [])]
        distinct = len(set(header)) == len(header)
        for row in _rows(rows):
            if isinstance(row, str):
                yield row
            elif row:
                fits = distinct and len(row) == len(header)
                yield _json(dict(zip(header, row, strict=True))) if fits else _as_line(row)


def _rows(rows: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """Rows, or a text that describes why a line has none; the reader continues with the next line."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"(line that is no csv: {error})"
            continue
        yield row


def _as_line(row: list[str]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()


def _parquet(file: Path) -> Iterator[str]:
    with pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(RECORDS_PER_BATCH):
            for row in batch.to_pylist():
                yield _json({name: None if value != value else value for name, value in row.items()})  # NaN: no JSON


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str)


READERS: dict[str, Callable[[Path], Iterator[str]]] = {"json": _lines, "csv": _csv, "parquet": _parquet}
"""Format, as in nightloom.toml -> reader."""
