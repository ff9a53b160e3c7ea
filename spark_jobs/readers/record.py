"""What every reader is given and what it gives: the layout of a source's files, a record, what was found in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Self

from nightloom.settings import Source

ROW_INDEX = "_row_index"
"""Field of a record: its place in its file, from 0 on; only where an expression of the source names it."""
MAX_QUOTED = 200  # characters of a header in a message
Record = tuple[str, int | None, str | None]
"""(text, lines of the file that it holds, why it cannot be read): a JSON object, or the unchanged text with a reason. A
note about a file holds no line: None."""


@dataclass(frozen=True)
class Layout:
    """How the files of a source are written: what `[[sources]]` says under these names."""

    format: str
    fields: Mapping[str, str]
    header: bool = True
    encoding: str | None = None
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    comment: str | None = None
    explode: str | None = None
    explode_delimiter: str | None = None
    takes_rest: bool = False
    null_values: tuple[str, ...] = ()
    decimal_comma: bool = False
    timestamp_format: str | None = None
    has_row_index: bool = False

    @classmethod
    def of(cls, source: Source) -> Self:
        """The layout of a source's files."""
        return cls(**{each.name: getattr(source, each.name) for each in fields(cls)})


@dataclass
class Found:
    """What a reader found in a file as a whole; complete once all its records are read."""

    lines: int = 0
    """Lines with content, without a header; rows of a Parquet file."""
    undecoded: int = 0
    """Lines with bytes that are not text in the file's encoding."""
    missing: list[str] = field(default_factory=list)
    """Declared fields that a csv or Parquet file has no column for."""
    header: str = ""
    """The columns that it has, as a message quotes them."""


class UnreadableFileError(Exception):
    """A file, or a part of an archive, that no reader understands; the message says what it is."""


def shorten(names: list[str]) -> str:
    """The names as a message quotes them."""
    joined = ", ".join(names)
    return joined if len(joined) <= MAX_QUOTED else f"{joined[:MAX_QUOTED]}..."


def add_row_index(record: str, number: int) -> str:
    """A JSON object with its place in the file as its last field."""
    start = record.rstrip()[:-1].rstrip()
    return f'{start}{"" if start.endswith("{") else ", "}"{ROW_INDEX}": {number}}}'
