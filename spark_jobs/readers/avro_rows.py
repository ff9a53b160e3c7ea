"""An Avro file's rows -> records. A value that Python cannot hold is named in its record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader
from typing import Any

import fastavro
from fastavro.read import LOGICAL_READERS

from spark_jobs.readers.arrow_rows import FAULTS, UNREADABLE, as_text, json_ready
from spark_jobs.readers.record import Found, Layout, Record, UnreadableFileError, shorten
from spark_jobs.readers.text import MARK, MARKING

CODECS = ("null", "deflate", "bzip2", "xz", "snappy", "zstandard")


def _guarded(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except FAULTS:
        return UNREADABLE


# By default one moment after the year 9999 ends the reading of its file.
LOGICAL_READERS |= {name: partial(_guarded, read) for name, read in LOGICAL_READERS.items()}


def read_avro(stream: BufferedReader, layout: Layout, found: Found) -> Iterator[Record]:
    """The records of an Avro file. Raises UnreadableFileError, and EOFError at damage."""
    opened = _open(stream)
    names = [field["name"] for field in opened.writer_schema["fields"]]
    found.missing += [name for name in layout.fields if name not in names]
    found.header = shorten(names)
    for row in _rows(opened):
        found.lines += 1
        broken = [name for name, value in row.items() if value is UNREADABLE]
        kept = {name: json_ready(value) for name, value in row.items() if name not in broken}
        text = json.dumps(kept, ensure_ascii=False, default=as_text)
        found.undecoded += MARK in text
        yield text, 1, f"the value of {', '.join(broken)} cannot be read" if broken else None


def _open(stream: BufferedReader) -> Any:
    try:
        opened = fastavro.reader(stream, handle_unicode_errors=MARKING)
        codec, schema = opened.codec, opened.writer_schema
    except (ValueError, EOFError, LookupError, TypeError) as error:
        raise UnreadableFileError(f"its header cannot be read: {error}") from None
    if codec not in CODECS:
        raise UnreadableFileError(f"it is packed by '{codec}'; write it with one of {', '.join(CODECS)}")
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UnreadableFileError("its rows are no records with named fields")
    return opened


def _rows(opened: Any) -> Iterator[dict[str, Any]]:
    """The rows up to the damage, if any, which fastavro reports by whatever its decoder met."""
    try:
        yield from opened
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        raise EOFError(str(error) or type(error).__name__) from None
