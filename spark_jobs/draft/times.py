"""Texts of a column -> how they write moments: a format of `timestamp_format`, and how many of them it reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise

from nightloom.settings import TIMESTAMP_UNITS
from nightloom.settings.times import HOUR, ZONE, letters_of

PATTERNS = (
    "yyyy/M/d H:mm:ss", "yyyy/M/d H:mm", "yyyy/M/d", "yyyy.M.d H:mm", "yyyyMMdd", "yyyyMMddHHmmss",
    "dd.MM.yyyy HH:mm:ss", "dd.MM.yyyy HH:mm", "dd.MM.yyyy", "d.M.yyyy H:mm:ss", "d.M.yyyy H:mm", "d.M.yyyy",
    "M/d/yyyy h:mm:ss a", "M/d/yyyy h:mm a", "M/d/yyyy H:mm:ss", "M/d/yyyy H:mm", "M/d/yyyy",
    "d/M/yyyy H:mm:ss", "d/M/yyyy H:mm", "d/M/yyyy", "d-M-yyyy H:mm:ss", "d-M-yyyy H:mm", "d-M-yyyy",
    "M-d-yyyy H:mm:ss", "M-d-yyyy H:mm", "M-d-yyyy", "MMM d, yyyy", "d MMM yyyy", "dd/MMM/yyyy:HH:mm:ss Z",
)  # fmt: skip
"""Patterns of Spark that are tried; of those that read equally many texts the first one is taken."""
PARTS = {
    "yyyy": r"(?P<y>(?:19|20)\d\d)", "MMM": r"[A-Z][a-z]{2}", "MM": r"(?P<M>0\d|1[0-2])", "M": r"(?P<M>0?\d|1[0-2])",
    "dd": r"(?P<d>[0-2]\d|3[01])", "d": r"(?P<d>[0-2]?\d|3[01])",
    "HH": r"(?:[01]\d|2[0-3])", "H": r"(?:[01]?\d|2[0-3])",
    "h": r"(?:0?\d|1[0-2])", "mm": r"[0-5]\d", "ss": r"[0-5]\d", "a": "[AP]M", "Z": r"[+-]\d{4}",
}  # fmt: skip
ISO = re.compile(
    r"\s*(?:19|20)\d\d-\d\d?-\d\d?(?:[T ]\d\d?:\d\d(?::\d\d(?:\.\d*)?)?\s*(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?)?\s*"
)
"""What a field of type timestamp is without a format."""
FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC).timestamp(), datetime(2040, 1, 1, tzinfo=UTC).timestamp()
"""Seconds between which a number is taken for a moment."""


@dataclass(frozen=True)
class TimeFormat:
    """How a column writes moments."""

    format: str | None
    """The source's `timestamp_format`; None for ISO."""
    share: float
    """Share of the column's texts that are written so."""
    has_zone: bool
    """Whether the moments are known without a time zone: by an offset, or as they count from 1970 or are days."""
    rival: str | None = None
    """The pattern with day and month exchanged, where it reads as many texts."""


def time_format_of(texts: Sequence[str]) -> TimeFormat | None:
    """The format that reads most of the texts; None where none reads half of them."""
    found = [*_iso(texts), *_units(texts), *_patterns(texts)]
    best = max(found, key=lambda each: each.share, default=None)
    return best if best and best.share >= 0.5 else None


def _iso(texts: Sequence[str]) -> list[TimeFormat]:
    matches = [match for text in texts if (match := ISO.fullmatch(text))]
    zoned = all(match["zone"] or ":" not in match[0] for match in matches)
    return [TimeFormat(None, len(matches) / len(texts), zoned)] if matches else []


def _units(texts: Sequence[str]) -> list[TimeFormat]:
    numbers = [float(text) for text in texts if re.fullmatch(r"[1-9]\d{8,18}(\.\d+)?", text)]
    found = []
    for unit, power in TIMESTAMP_UNITS.items():
        some = sum(FIRST <= number / 10**power < LAST for number in numbers)
        found += [TimeFormat(unit, some / len(texts), True)] if some else []
    return found


def _patterns(texts: Sequence[str]) -> list[TimeFormat]:
    read = {each: [match for text in texts if (match := expression_of(each).fullmatch(text))] for each in PATTERNS}
    best = max(PATTERNS, key=lambda each: len(read[each]))  # the first one, of several
    if not read[best]:
        return []
    swapped = best.translate(str.maketrans("Md", "dM"))
    rival = swapped if swapped != best and len(read.get(swapped, ())) == len(read[best]) else None
    if rival and _disorder(read[rival]) < _disorder(read[best]):
        best, rival = rival, best
    letters = letters_of(best)
    return [
        TimeFormat(best, len(read[best]) / len(texts), not HOUR.search(letters) or bool(ZONE.search(letters)), rival)
    ]


def _disorder(matches: Sequence[re.Match[str]]) -> int:
    """How often a day comes before the one above it. A file that is in order shows which number is the month."""
    days = [(match["y"], match["M"].zfill(2), match["d"].zfill(2)) for match in matches]
    return sum(later < earlier for earlier, later in pairwise(days))


@cache
def expression_of(pattern: str) -> re.Pattern[str]:
    """The regular expression of the texts that a pattern of Spark reads."""
    pieces = [match[0] for match in re.finditer(r"([A-Za-z])\1*|[^A-Za-z]", pattern)]
    return re.compile("".join(PARTS.get(piece, re.escape(piece)) for piece in pieces))
