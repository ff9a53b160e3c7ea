"""A Spark type -> the check of a JSON value: what is accepted here, the night reads as a value of the type."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot.expressions import DataType

Check = Callable[[Any], bool]
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})?", re.ASCII)
DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
"""sqlglot's name of a whole number's type -> its bits."""
EXPECTED = {
    "TEXT": "a text", "BOOLEAN": "true or false", "FLOAT": "a number", "DOUBLE": "a number", "DATE": "a date",
    "TIMESTAMP": "a time", "TIMESTAMPNTZ": "a time", "TIMESTAMPLTZ": "a time", "TIMESTAMPTZ": "a time",
}  # fmt: skip
EXAMPLES = {"a date": "2026-03-14", "a time": "2026-03-14T09:30:00Z"}


def expected_value(type: str) -> str:
    """What a value of a type looks like, in words: `a time (timestamp), such as 2026-03-14T09:30:00Z`."""
    name = _parsed(type).this.name
    words = EXPECTED.get(name, "a whole number" if name in INTEGERS else "a value")
    example = f", such as {EXAMPLES[words]}" if words in EXAMPLES else ""
    return f"{words} ({' '.join(type.split())}){example}"


def type_name(type: str) -> str:
    """sqlglot's name of a type: TEXT, INT, TIMESTAMP."""
    return str(_parsed(type).this.name)


def value_check(type: str) -> Check | None:
    """The check of a type; None for a type whose values no JSON can hold, such as binary."""
    return _check(_parsed(type))


def parse_moment(value: object) -> datetime | None:
    """A time as text; without an offset it is UTC."""
    if not isinstance(value, str) or not MOMENT.fullmatch(value):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _parsed(type: str) -> DataType:
    from sqlglot.expressions import DataType

    return DataType.build(type, dialect="spark")


def _check(type: DataType) -> Check | None:
    name = type.this.name
    simple: dict[str, Check] = {
        "TEXT": _is_text, "BOOLEAN": lambda value: isinstance(value, bool), "FLOAT": _is_number, "DOUBLE": _is_number,
        "DATE": _is_date, **{each: _is_moment for each in EXPECTED if "TIMES" in each},
    }  # fmt: skip
    if name in INTEGERS:
        limit = 1 << (INTEGERS[name] - 1)
        return lambda value: isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
    if name == "DECIMAL":
        digits, scale = ([int(each.name) for each in type.expressions] + [10, 0])[:2] if type.expressions else (10, 0)
        return lambda value: _is_decimal(value, digits, scale)
    nested = {"ARRAY": _array_check, "MAP": _map_check, "STRUCT": _struct_check}
    return nested[name](type) if name in nested else simple.get(name)


def _array_check(type: DataType) -> Check | None:
    inner = _check(type.expressions[0])
    return inner and (lambda value: isinstance(value, list) and all(each is None or inner(each) for each in value))


def _map_check(type: DataType) -> Check | None:
    key, inner = type.expressions
    if key.this.name != "TEXT" or (check := _check(inner)) is None:
        return None
    return lambda value: isinstance(value, dict) and all(each is None or check(each) for each in value.values())


def _struct_check(type: DataType) -> Check | None:
    checks = {part.name: _check(part.args["kind"]) for part in type.expressions}
    known = {name: check for name, check in checks.items() if check is not None}
    if len(known) < len(checks):
        return None
    return lambda value: (
        isinstance(value, dict)
        and all(name in known and (each is None or known[name](each)) for name, each in value.items())
    )


def _is_text(value: object) -> bool:
    """A text; a whole number, as an id often is, is taken as its digits."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest double
        return False


def _is_moment(value: object) -> bool:
    return parse_moment(value) is not None


def _is_date(value: object) -> bool:
    if not isinstance(value, str) or not DAY.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_decimal(value: object, digits: int, scale: int) -> bool:
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        return abs(Decimal(value)) < Decimal(10) ** (digits - scale)
    return _is_number(value) and abs(Decimal(str(value))) < Decimal(10) ** (digits - scale)
