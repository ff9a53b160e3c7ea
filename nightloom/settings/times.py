"""How a source writes its times: `timestamp_format` is a unit or a pattern, `time_zone` a name of the IANA."""

import re
from zoneinfo import available_timezones

from nightloom.section import join_names, suggest_key

TIMESTAMP_UNITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6, "nanoseconds": 9}
"""Unit of a number that counts from 1970 on -> the power of ten that makes it seconds."""
PATTERN_LETTERS = frozenset("GyMLdDahKkHmsSVzOXxZ")
"""Letters by which Spark reads a time."""
HOUR = re.compile("[hHkKmsSa]")
ZONE = re.compile("[VzOXxZ]")


def letters_of(pattern: str) -> str:
    """A pattern without what stands in quotes."""
    return re.sub(r"'[^']*'", "", pattern)


def timestamp_format_problem(text: str) -> str | None:
    """What is wrong with a `timestamp_format`; None where Spark may understand it."""
    if text in TIMESTAMP_UNITS:
        return None
    units, letters = (
        f"a unit ({', '.join(TIMESTAMP_UNITS)}) or a pattern such as 'yyyy-MM-dd HH:mm:ss'",
        letters_of(text),
    )
    if "%" in text:
        return f"'{text}' is a pattern of Python; expected {units}"
    if near := suggest_key(text, TIMESTAMP_UNITS):
        return f"'{text}' is neither {units}{near}"
    if strange := {letter for letter in letters if letter.isalpha()} - PATTERN_LETTERS:
        return f"'{text}' has the letters {join_names(strange)}, by which Spark reads no time; y is a year, d a day"
    if "y" not in letters:
        return f"'{text}' has no year (y), so it is no timestamp; expected {units}"
    return None


def time_zone_problem(name: str) -> str | None:
    """What is wrong with a `time_zone`; None where it is a name of the IANA."""
    known = available_timezones()
    if name in known:
        return None
    return f"'{name}' is no time zone; expected a name such as 'Europe/Berlin' or 'UTC'{suggest_key(name, known)}"
