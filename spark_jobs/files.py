"""Landing files -> their records as JSON text, one by one, on Spark's Python workers; bounded memory, nothing dropped.

landing.py finds the new files; this module reads them, in Python instead of with Spark's own readers. Each csv file may
have its own header: another column or another order next month is no fault. A row with too many fields or a truncated
file becomes an unreadable record that says why, and the good rows around it are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from nightloom.places import Place
from spark_jobs.landing import find_file
from spark_jobs.readers.arrow_rows import read_orc, read_parquet
from spark_jobs.readers.avro_rows import read_avro
from spark_jobs.readers.compression import DAMAGE_ERRORS, READ_AHEAD, unpack
from spark_jobs.readers.csv_lines import read_csv
from spark_jobs.readers.explode import explode
from spark_jobs.readers.json_lines import read_json
from spark_jobs.readers.python_lines import read_python
from spark_jobs.readers.record import Found, Layout, Record, UnreadableFileError, add_row_index
from spark_jobs.readers.text import TextLines, is_machine_fault

RECORDS = "raw string, file string, file_modified_at timestamp, lines int, problem string, file_summary string"
RECORDS_PER_BATCH = 4_096
CHARACTERS_PER_BATCH = 32 << 20
WITH_SCHEMA = {"parquet": read_parquet, "orc": read_orc, "avro": read_avro}
SCHEMA = pa.schema(
    [
        ("raw", pa.string()),
        ("file", pa.string()),
        ("file_modified_at", pa.timestamp("us", "UTC")),
        ("lines", pa.int32()),
        ("problem", pa.string()),
        ("file_summary", pa.string()),
    ]
)


def read_files(
    batches: Iterator[pa.RecordBatch], layout: Layout, root: str, variables: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """Batches of (file, modified, again), `file` relative to `root`, absolute or an address -> batches of RECORDS.

    `again` says that an earlier state of the file was read before; `variables` give access to object storage.
    """
    os.environ.update(variables)
    for batch in batches:
        for listed in batch.to_pylist():
            found = Found()
            records = read_records(find_file(Path(root), listed["file"]), layout, found)
            yield from _batches(records, listed["file"], listed["modified"], found, listed["again"])


def read_records(file: Place, layout: Layout, found: Found) -> Iterator[Record]:
    """Each record of a file; `found` then says what the file as a whole has.

    A damaged or missing file gives the records before the damage, then a note; so does each file of a zip file. Raises
    OSError where the machine is at fault and not the file (no permission, a failing disk).
    """
    try:
        opened = _open(file)
    except DAMAGE_ERRORS as error:
        yield _note(error, 0)
        return
    with opened:
        yield from read_content(opened, layout, found)


def read_content(content: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    """read_records() of a file's bytes."""
    number = 0
    try:
        for stream in unpack(content):
            try:
                for text, lines, problem in _read_stream(stream, layout, found):
                    numbered = layout.has_row_index and problem is None
                    yield add_row_index(text, number) if numbered else text, lines, problem
                    number += 1
            except DAMAGE_ERRORS as error:
                yield _note(error, number)
    except DAMAGE_ERRORS as error:
        yield _note(error, number)


def read_bytes(content: bytes, layout: Layout) -> Iterator[Record]:
    """read_records() of a file that has this content."""
    return read_content(BufferedReader(cast("Any", BytesIO(content))), layout, Found())


def _open(file: Place) -> BufferedReader:
    return file.open("rb") if isinstance(file, Path) else BufferedReader(cast("Any", file.open("rb")), READ_AHEAD)


def _note(error: Exception, number: int) -> Record:
    """The note about a file that could not be read to its end; an error of the machine is raised again."""
    if is_machine_fault(error):
        raise error
    refused = isinstance(error, UnreadableFileError)
    note = f"file refused: {error}" if refused else f"file damaged after {number:,} records: {error}"
    return f"({note})", None, note


def _read_stream(stream: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    records = _read_format(stream, layout, found)
    return explode(records, layout) if layout.explode else records


def _read_format(stream: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    if layout.format in WITH_SCHEMA:
        yield from WITH_SCHEMA[layout.format](stream, layout, found)
        return
    text = TextLines(stream, layout.encoding, found, layout.delimiter)
    if layout.format == "csv":
        yield from read_csv(text, layout)
    else:
        yield from read_json(text) if layout.format == "json" else read_python(text)
    if text.damage:
        raise text.damage


def _batches(
    records: Iterator[Record], name: str, modified: datetime, found: Found, again: bool
) -> Iterator[pa.RecordBatch]:
    """The batches of one file; the last record of the last one has the file's summary."""
    waiting: list[Record] = []
    for chunk in _chunks(records):
        if waiting:
            yield _batch(waiting, name, modified, None)
        waiting = chunk
    if waiting:
        summary = {
            "lines": found.lines, "undecoded": found.undecoded, "missing": found.missing, "header": found.header,
            "again": again,
        }  # fmt: skip
        yield _batch(waiting, name, modified, json.dumps(summary, ensure_ascii=False))


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record[0])
        if len(chunk) == RECORDS_PER_BATCH or size > CHARACTERS_PER_BATCH:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _batch(chunk: list[Record], name: str, modified: datetime, summary: str | None) -> pa.RecordBatch:
    raw, lines, problems = zip(*chunk, strict=True)
    usual = set(lines) == {1} and set(problems) == {None}
    columns = [
        pa.array(raw, pa.string()),
        pa.repeat(name, len(chunk)),
        pa.repeat(pa.scalar(modified, SCHEMA.field("file_modified_at").type), len(chunk)),
        pa.repeat(pa.scalar(1, pa.int32()), len(chunk)) if usual else pa.array(lines, pa.int32()),
        pa.nulls(len(chunk), pa.string()) if usual else pa.array(problems, pa.string()),
        pa.array([*[None] * (len(chunk) - 1), summary], pa.string()) if summary else pa.nulls(len(chunk), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
