"""How a csv file separates and quotes its fields: a line -> its fields, by Python's csv reader.

That reader takes one character as the delimiter. A longer one is replaced by a character that no decoded text has.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from spark_jobs.readers.record import Layout

ABSENT = "\udc1f"
"""Half of a character, which no text in a file's encoding decodes to."""
csv.field_size_limit(sys.maxsize)


class Dialect:
    """Delimiter, quote and escape of a source."""

    def __init__(self, layout: Layout, width: int = 0) -> None:
        """`width` is the number of fields of a line whose last field takes the rest; 0 where it does not."""
        self.delimiter = layout.delimiter
        self.most = width - 1
        """Delimiters of a line that end a field; -1 for all."""
        escape = layout.escape if layout.escape != layout.quote else None  # a doubled quote, as it is without it
        self.marks = layout.quote or ABSENT, escape or ABSENT
        """Quote and escape."""
        self._stands_in = ABSENT if len(layout.delimiter) > 1 else None
        self._escaped = re.compile(rf"{re.escape(escape)}(.)", re.DOTALL) if escape else None
        self._special = {*layout.delimiter[0], layout.quote, escape, "\r", "\n"}
        options: dict[str, Any] = {
            "delimiter": self._stands_in or layout.delimiter,
            "quotechar": layout.quote or None,
            "quoting": csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
            "escapechar": escape,
        }
        # Made once: to make one for each line takes longer than to read the line.
        self._strict, self._lenient = (csv.reader((), strict=strict, **options).dialect for strict in (True, False))

    def is_plain(self, line: str) -> bool:
        """Whether a line has neither quotes nor escapes: then it only needs to be split."""
        quote, escape = self.marks
        return quote not in line and escape not in line

    def parse(self, line: str) -> tuple[list[str] | None, bool]:
        """A line by itself: (its fields, or None where its quotes are wrong; whether a quote is open at its end)."""
        lines = iter((line, ""))
        try:
            return next(self.rows(lines)), False
        except csv.Error:
            return None, next(lines, None) is None

    def open_field(self, line: str) -> int:
        """The number of the field whose quote is open at the end of a line, from 1 on."""
        return len(next(self.rows([line], strict=False)))

    def rows(self, lines: Iterable[str], *, strict: bool = True) -> Iterator[list[str]]:
        """The rows of lines, which may hold line breaks. Raises csv.Error."""
        dialect = self._strict if strict else self._lenient
        if not self._escaped and not self._stands_in and self.most < 0:
            return csv.reader(lines, dialect)
        found = csv.reader(map(self._prepare, lines), dialect)
        return (self._join_rest([self._restore(field) for field in row] if self._stands_in else row) for row in found)

    def _prepare(self, line: str) -> str:
        if self._escaped:
            line = self._escaped.sub(self._escape, line)
        return line.replace(self.delimiter, self._stands_in) if self._stands_in else line

    def _escape(self, found: re.Match[str]) -> str:
        r"""An escape before an ordinary character is one itself: `\N` stays what it is."""
        return found[0] if found[1] in self._special else f"{found[0][0]}{found[0]}"

    def _restore(self, field: str) -> str:
        return field.replace(ABSENT, self.delimiter)

    def _join_rest(self, row: list[str]) -> list[str]:
        if 0 <= self.most < len(row):
            return [*row[: self.most], self.delimiter.join(row[self.most :])]
        return row
