"""The records of a sample -> its columns: each field's texts in the order of the file, and facts about them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

from spark_jobs.draft.times import TimeFormat, time_format_of
from spark_jobs.draft.vocabulary import MISSING, MISSING_NUMBER

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NUMBER_WITH_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}([. \u00a0\u202f']\d{3})+),\d+")
SEPARATORS = ("|", ", ", ",", "; ", ";", " ")
"""What may stand between the elements of a list that is written as a text."""
FEW = 20  # rows of a sample in which one odd value is a large share
TEXTS_FOR_TIMES = 1_000


def is_number(text: str) -> bool:
    """Whether a text is a number with a point before its decimals, or without decimals."""
    return NUMBER.fullmatch(text) is not None


@dataclass(frozen=True, eq=False)
class Column:
    """A field of a file's records, or a field inside of one."""

    path: tuple[str, ...]
    texts: Sequence[str | None]
    """One for each record; None where it is missing."""
    place: int
    """From 0 on."""

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @cached_property
    def _missing(self) -> frozenset[str]:
        """The texts that stand for no value here."""
        rest = [text for text in self.texts if text and text.strip() and text not in MISSING_NUMBER]
        numbers = sum(any(map(str.isdigit, text)) for text in rest)
        return MISSING_NUMBER if rest and numbers >= 0.95 * len(rest) else MISSING

    @cached_property
    def filled(self) -> list[str]:
        """The texts that are values."""
        return [text for text in self.texts if text and text.strip() and text not in self._missing]

    @cached_property
    def missing_texts(self) -> list[str]:
        """The texts by which the column says that there is no value."""
        return sorted({text for text in self.texts if text and text in self._missing})

    @cached_property
    def counts(self) -> Counter[str]:
        """Value -> how often it occurs."""
        return Counter(self.filled)

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def unique_share(self) -> float:
        """Distinct values per value: 1 where none occurs twice."""
        return self.distinct / len(self.filled) if self.filled else 0.0

    @property
    def filled_share(self) -> float:
        return len(self.filled) / len(self.texts) if self.texts else 0.0

    def share(self, fits: Any) -> float:
        """The share of the values that meet a condition."""
        return sum(map(bool, map(fits, self.filled))) / len(self.filled) if self.filled else 0.0

    def mostly(self, share: float) -> bool:
        """Whether a share of the values is nearly all; in a small sample, where one may be odd, half of them."""
        return share >= (0.5 if len(self.filled) < FEW else 0.95)

    @cached_property
    def has_decimal_comma(self) -> bool:
        """Whether numbers have a comma before their decimals."""
        commas = self.share(NUMBER_WITH_COMMA.fullmatch)
        return commas > self.share(lambda text: "." in text and is_number(text)) and self.mostly(
            self.share(lambda text: NUMBER_WITH_COMMA.fullmatch(text) or is_number(text))
        )

    @cached_property
    def is_numeric(self) -> bool:
        return self.has_decimal_comma or self.mostly(self.share(is_number))

    @cached_property
    def is_whole(self) -> bool:
        return self.mostly(self.share(lambda text: text.lstrip("+-").isdigit()))

    @cached_property
    def numbers(self) -> list[float]:
        """The values that are numbers."""
        if self.has_decimal_comma:
            plain = [re.sub(r"[^\d,+-]", "", text).replace(",", ".") for text in self.filled]
            return [float(text) for text in plain if is_number(text)]
        return [float(text) for text in self.filled if is_number(text)]

    @cached_property
    def time_format(self) -> TimeFormat | None:
        """How it writes moments, if it holds any."""
        texts = self.filled[:TEXTS_FOR_TIMES]
        return time_format_of(texts) if texts else None

    @cached_property
    def is_row_number(self) -> bool:
        """Whether it counts the rows: 1, 2, 3."""
        return self.is_whole and _counts(self.numbers[:1_000])

    @cached_property
    def is_record_number(self) -> bool:
        """Whether it counts groups of rows: 1, 1, 2, 2, 2, 3."""
        return self.is_whole and _counts([number for number, _ in groupby(self.numbers[:1_000])])

    @cached_property
    def is_prose(self) -> bool:
        """Whether most values have a space between words, as names and titles do."""
        return self.share(lambda text: " " in text.strip()) > 0.3 and not self.time_format and not self.is_numeric

    @cached_property
    def separator(self) -> str | None:
        """What stands between the elements of its values, where some are lists."""
        share = {sign: self.share(lambda text, sign=sign: sign in text.strip()) for sign in SEPARATORS}
        best = max(SEPARATORS, key=share.__getitem__)
        return best if share[best] >= 0.1 else None


def _counts(numbers: Sequence[float]) -> bool:
    """Whether the numbers are 0, 1, 2 or 1, 2, 3."""
    return (
        len(numbers) > 1 and numbers[0] in (0, 1) and all(later - earlier == 1 for earlier, later in pairwise(numbers))
    )


def columns_of(records: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns of records; the fields of an object inside of a record are columns, too."""
    rows = [flat(record) for record in records]
    paths = dict.fromkeys(path for row in rows for path in row)
    inner = {path[:depth] for path in paths for depth in range(1, len(path))}
    return [
        Column(path, [row.get(path) for row in rows], place)
        for place, path in enumerate(path for path in paths if path not in inner)
    ]


def arrays_of(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The paths at which objects stand in an array."""
    found: dict[tuple[str, ...], None] = {}

    def look(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                look(inner, (*path, name))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found[path] = None

    for record in records:
        look(record, ())
    return [*found]


def flat(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str | None]:
    """The values of an object and of the objects inside of it, as texts; a list as JSON."""
    found: dict[tuple[str, ...], str | None] = {}
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= flat(inner, (*path, name))
        elif isinstance(inner, str) or inner is None:
            found[(*path, name)] = inner
        elif isinstance(inner, float) and inner.is_integer():
            found[(*path, name)] = repr(inner)
        else:
            found[(*path, name)] = json.dumps(inner, ensure_ascii=False)
    return found
