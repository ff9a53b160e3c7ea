"""A csv file's lines -> records. No line that is a record by itself is ever part of another record.

Fields are separated by commas, and may be quoted as RFC 4180 says, unless the source declares another dialect. A quoted
value may span lines where its quote is closed and none of the further lines is a full record by itself. Else the line
with the open quote cannot be read, and reading goes on with the next line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from json.encoder import encode_basestring

from nightloom.settings import TIMESTAMP_UNITS
from spark_jobs.readers.dialect import Dialect
from spark_jobs.readers.record import Layout, Record, shorten
from spark_jobs.readers.text import CUT, TextLines

MAX_QUOTED = 16 << 20  # characters; a quoted value that is longer counts as an open quote
NUMBERS = ("tinyint", "smallint", "int", "bigint", "byte", "short", "long", "float", "real", "double", "dec", "numeric")
TRUE_OR_FALSE = {"t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"}


def read_csv(text: TextLines, layout: Layout) -> Iterator[Record]:
    """The records of a csv file."""
    columns = _read_header(text, layout) if layout.header else _Columns([*layout.fields], layout)
    text.found.missing, text.found.header = columns.missing, shorten(columns.names)
    width, template, simple, dialect = columns.width, columns.template, columns.simple, columns.dialect
    (quote, escape), delimiter, most = dialect.marks, dialect.delimiter, dialect.most
    for line in text:
        if layout.comment and line.startswith(layout.comment):
            text.found.lines -= 1
            continue
        if simple and line[-1] in "\r\n":  # damage may have cut a line without an end
            plain = quote not in line and escape not in line
            row = line.rstrip("\r\n").split(delimiter, most) if plain else dialect.parse(line)[0]
            if row and len(row) == width:
                yield template % tuple(map(encode_basestring, row)), 1, None
                continue
        if not line.isspace():
            yield _read_line(text, line, columns)


def _read_line(text: TextLines, line: str, columns: _Columns) -> Record:
    """The record that begins with a line."""
    row, is_open = columns.dialect.parse(line)
    held, problem = 1, columns.problem
    if problem:
        pass
    elif text.cuts(line):
        problem = CUT
    elif text.is_piece(line):
        problem = "it is a part of a line that is too long"
    elif is_open:
        row, further = _read_further(text, line, columns.dialect, columns)
        held += _count(further)
        if row is None:
            problem = (
                f"the quote that opens field {columns.dialect.open_field(line)} is not closed before the next record"
            )
    elif row is None:
        problem = "a closing quote is followed by more text"
    elif not columns.fit(row):
        problem = f"it has {len(row)} fields, expected {columns.width}: {shorten(columns.names)}"
    return (columns.record(row), held, None) if row and not problem else (line.rstrip("\r\n"), held, problem)


def _read_further(
    text: TextLines, first: str, dialect: Dialect, columns: _Columns | None
) -> tuple[list[str] | None, list[str]]:
    """A record of several lines: its fields, and the lines after the first. (None, []) where there is none."""
    taken: list[str] = []

    def feed() -> Iterator[str]:
        yield first
        size = len(first)
        for line in text:
            taken.append(line)
            size += len(line)
            if size > MAX_QUOTED or (columns and columns.is_record(line)):
                return
            yield line

    try:
        row = next(dialect.rows(feed()))
    except csv.Error:
        row = []
    if row and (not columns or columns.fit(row)) and not text.cuts(taken[-1]):
        return row, taken
    text.push_back(taken)
    return None, []


def _count(lines: list[str]) -> int:
    return sum(not line.isspace() for line in lines)


def _read_header(text: TextLines, layout: Layout) -> _Columns:
    """The columns that a file's first line names. A line that names no declared field is no header, but a record."""
    dialect = Dialect(layout)
    line = next(_lines_with_content(text, layout), "")
    row, is_open = dialect.parse(line) if line else (None, False)
    further: list[str] = []
    if is_open:
        row, further = _read_further(text, line, dialect, None)
    columns = _Columns([name.strip() for name in row or next(dialect.rows([line], strict=False), [])], layout)
    if len(columns.missing) < len(layout.fields):
        text.found.lines -= 1 + _count(further)
    elif line:
        text.push_back([line, *further])
    return columns


def _lines_with_content(text: TextLines, layout: Layout) -> Iterator[str]:
    """The lines that are neither blank nor comments; a comment counts as no line."""
    for line in text:
        if layout.comment and line.startswith(layout.comment):
            text.found.lines -= 1
        elif not line.isspace():
            yield line


class _Columns:
    """The columns of a file, by its header or by the settings."""

    def __init__(self, header: list[str], layout: Layout) -> None:
        fields = layout.fields
        self.width = len(header)
        """Fields of a line; those without a name at its end may be left out."""
        self.names = header[: max((n for n, name in enumerate(header, start=1) if name), default=0)]
        self.missing = [name for name in fields if name not in self.names]
        self.problem = self._find_problem(fields)
        keys = [encode_basestring(name).replace("%", "%%") for name in self.names]
        self.template = f"{{{', '.join(f'{key}: %s' for key in keys)}}}"
        self.dialect = Dialect(layout, self.width if layout.takes_rest else 0)
        self.simple = not self.problem and all(header) and self.width > 1
        """Whether a line without quotes is a record if it has `width` fields; an empty line is one empty field."""
        checks = (
            (self.names.index(name), _check_of(type, layout)) for name, type in fields.items() if name in self.names
        )
        self._checks = [(place, check) for place, check in checks if check]
        self._null_values = layout.null_values

    def _find_problem(self, fields: Mapping[str, str]) -> str | None:
        found = shorten(self.names)
        if len(self.missing) == len(fields):
            return (
                f"the first line of its file names none of the fields {shorten([*fields])}; it is: {found}. "
                "Write `header = false` in the source if its files have no header"
            )
        twice = [name for name, times in Counter(self.names).items() if name and times > 1]
        return f"the header of its file names {', '.join(twice)} more than once: {found}" if twice else None

    def fit(self, row: list[str]) -> bool:
        """Whether a line has the right number of fields."""
        return len(self.names) <= len(row) <= self.width

    def record(self, row: list[str]) -> str:
        """The row as JSON. A value under no name gets Spark's name for such a column, `_c` and its place from 0 on."""
        named = [
            (self.names[place] if place < len(self.names) else "") or (f"_c{place}" if value else "")
            for place, value in enumerate(row)
        ]
        pairs = (
            f"{encode_basestring(name)}: {encode_basestring(value)}"
            for name, value in zip(named, row, strict=True)
            if name
        )
        return f"{{{', '.join(pairs)}}}"

    def is_record(self, line: str) -> bool:
        """Whether a line is a full record by itself: its fields are as many as the columns, and fit their types.

        Where it has quotes of its own, a number, time or truth value must show it: the last line of a quoted text may
        have as many commas as a record.
        """
        row, _ = self.dialect.parse(line)
        if row is None or not self.fit(row):
            return False
        given = [(row[place], check) for place, check in self._checks if place < len(row)]
        fits = [check(text) for text, check in given if text.strip() and text not in self._null_values]
        return all(fits) and (self.dialect.is_plain(line) or bool(fits))


def _check_of(type: str, layout: Layout) -> Callable[[str], bool] | None:
    """A rough check of texts of a declared type; None for a text."""
    if type.startswith(("timestamp", "date")):
        return _check_of_times(layout.timestamp_format if type.startswith("timestamp") else None)
    if type == "boolean":
        return lambda text: text.strip().lower() in TRUE_OR_FALSE
    if type.startswith(NUMBERS):
        return _is_number_with_comma if layout.decimal_comma else _is_number
    return None


def _check_of_times(format: str | None) -> Callable[[str], bool] | None:
    if format in TIMESTAMP_UNITS:
        return _is_number
    if format is None:
        return lambda text: bool(re.match(r"\s*[+-]?\d{4}", text))
    return (lambda text: text.strip()[:1].isdigit()) if re.match(r"[ydHhM](?!MM)", format) else None


def _is_number_with_comma(text: str) -> bool:
    return _is_number("".join(text.split()).replace(".", "").replace(",", "."))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
