"""A file -> a sample of it: its first megabytes and some later ones, as records by the readers that bronze uses.

A small file, and a Parquet or ORC file, is read from its begin, up to MAX_RECORDS. Of a large text the sample has the
begin, a part of its middle and its end; the first and last lines of a later part may be halves of records, so a line
there that cannot be read does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

from nightloom.places import Place
from spark_jobs.files import read_bytes, read_records
from spark_jobs.readers.compression import DAMAGE_ERRORS, unpack
from spark_jobs.readers.record import Found, Layout, Record
from spark_jobs.readers.text import COLUMNAR, is_machine_fault

HEAD = 2 << 20  # bytes of a text's begin
LATER = 1 << 20  # bytes of each later part
MAX_UNPACKED = 256 << 20  # bytes of a packed file that are unpacked: about two seconds
MAX_RECORDS = 50_000
T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """What was read of a file."""

    place: Place
    name: str
    """As bronze names the file."""
    modified: datetime
    format: str | None
    """`parquet` or `orc`; None for a text."""
    head: bytes
    """The first bytes, unpacked."""
    problem: str | None = None
    """Why it cannot be read."""
    later: tuple[bytes, ...] = ()
    """Further parts of a large text, each from the begin of a line to the end of one."""

    def records(self, layout: Layout) -> Iterator[Record]:
        """The sample's records."""
        if not self.later:
            yield from islice(read_records(self.place, layout, Found()), MAX_RECORDS)
            return
        yield from _without_open_end(read_bytes(self.head, layout))
        header = _header(self.head, layout)
        for part in self.later:
            yield from _readable_span(read_bytes(header + part, layout))


def take_sample(place: Place, name: str, modified: float) -> Sample:
    """The sample of a file; `modified` in seconds since 1970. Raises OSError where the machine cannot read it."""
    at = datetime.fromtimestamp(modified, UTC)
    try:
        with place.open("rb") as opened:
            streams = unpack(opened if isinstance(opened, BufferedReader) else BufferedReader(cast("Any", opened)))
            stream = next(streams)  # open as long as the iterator is
            head = stream.read(HEAD)
            format = next((format for first, format in COLUMNAR.items() if head.startswith(first)), None)
            large = not format and len(head) == HEAD and b"\0" not in head[:64]  # UTF-16 has no line of whole bytes
            size = place.stat().st_size if isinstance(place, Path) and stream is opened else None
            later = tuple(filter(None, map(_whole_lines, _later_parts(stream, size)))) if large else ()
    except DAMAGE_ERRORS as error:
        if is_machine_fault(error):
            raise
        return Sample(place, name, at, None, b"", str(error) or type(error).__name__)
    if not head.strip():
        return Sample(place, name, at, format, b"", "it is empty")
    return Sample(place, name, at, format, head[: head.rfind(b"\n") + 1] if later else head, later=later)


def _later_parts(stream: BufferedReader, size: int | None) -> Iterator[bytes]:
    """Parts of the middle and of the end of a stream that stands behind its head; `size` where it can seek."""
    if size is None:
        yield from _later_of_packed(stream)
        return
    end = max(HEAD, size - LATER)
    for start in (size // 2, end):
        if start == end or HEAD <= start <= end - LATER:
            stream.seek(start)
            yield stream.read(LATER)


def _later_of_packed(stream: BufferedReader) -> Iterator[bytes]:
    """The same of a stream that has to be unpacked from its begin, up to MAX_UNPACKED."""
    nothing = 0, b""
    middle, before, last = nothing, nothing, nothing
    for number in range(1, (MAX_UNPACKED - HEAD) // LATER):
        if not (chunk := stream.read(LATER)):
            break
        before, last = last, (number, chunk)
        if number & (number - 1) == 0:  # the last power of two is in the middle, wherever the end is
            middle = last
    if middle[0] < before[0]:
        yield middle[1]
    yield (before[1] + last[1])[-LATER:]


def _whole_lines(part: bytes) -> bytes:
    return part[part.find(b"\n") + 1 : part.rfind(b"\n") + 1]


def _header(head: bytes, layout: Layout) -> bytes:
    """The line of a csv file that names its columns, with its line end."""
    if layout.format != "csv" or not layout.header:
        return b""
    comment = layout.comment.encode() if layout.comment else None
    lines = head.splitlines(keepends=True)
    return next(line for line in lines if line.strip() and not (comment and line.startswith(comment)))


def _without_open_end(records: Iterable[Record]) -> Iterator[Record]:
    """The records without those at the end that cannot be read: a record may go on behind the part."""
    waiting: list[Record] = []
    for record in records:
        if record[2] is None:
            yield from waiting
            waiting = []
            yield record
        else:
            waiting.append(record)


def _readable_span(records: Iterable[Record]) -> Iterator[Record]:
    """The records from the first to the last that can be read."""
    begun = False
    for record in _without_open_end(records):
        begun = begun or record[2] is None
        if begun:
            yield record


def spread(each: Sequence[T], most: int) -> list[T]:
    """At most so many of them: the first, the last and some between."""
    if len(each) <= most:
        return [*each]
    return [each[round(step * (len(each) - 1) / (most - 1))] for step in range(most)]
