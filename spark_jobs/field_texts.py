"""The text of a record's field -> SQL of its value: null where the text does not fit the field's declared type."""

from __future__ import annotations

from nightloom.literals import spark_text
from nightloom.settings import TIMESTAMP_UNITS, Source
from nightloom.settings.times import HOUR, ZONE, letters_of

NESTED = ("array", "map", "struct")
MALFORMED = "_malformed"
"""Field of a nested value that is null where the text fits the type."""
MOMENTS = ("timestamp", "timestamp_ltz")
NUMBERS = ("tinyint", "byte", "smallint", "short", "int", "bigint", "long", "float", "real", "double", "dec", "numeric")
WITH_COMMA = r"^\s*[+-]?(\d+|\d{1,3}([. \u00a0\u202f']\d{3})+)(,\d+)?\s*$"
"""A number with a comma before its decimals, and with signs between its thousands or without."""
DIGITS = r"[^\d,+-]"
CLOCK = r"\d[T ]+\d"
"""A date and a time after it."""
SECONDS = 100_000_000, 253_402_300_799
"""From March 1973 to the year 9999: a number that is of another time counts as one of another unit."""


def field_sql(name: str, type: str, source: Source) -> str:
    """SQL of a declared field of `_fields`: null where its text does not fit its type.

    The value of a nested type is struct(v, MALFORMED).
    """
    text = f"_fields[{spark_text(name)}]"
    if type == "string":
        return text
    if is_nested(type):
        # Of a value that does not fit, from_json alone gives a part, without a word.
        schema, options = (
            spark_text(f"v {type}, {MALFORMED} string"),
            f"map('columnNameOfCorruptRecord', '{MALFORMED}')",
        )
        return f"""from_json('{{"v":' || {text} || '}}', {schema}, {options})"""
    if type.lower() in MOMENTS:
        return _moment(text, source)
    if source.decimal_comma and type.lower().startswith(NUMBERS):
        digits = f"replace(regexp_replace({text}, {spark_text(DIGITS)}, ''), ',', '.')"
        return f"try_cast(IF({text} RLIKE {spark_text(WITH_COMMA)}, {digits}, NULL) AS {type})"
    return f"try_cast({text} AS {type})"


def is_nested(type: str) -> bool:
    """Whether a field's type is an array, a map or a struct."""
    return type.lower().startswith(NESTED)


def expected_text(type: str, source: Source) -> str:
    """What a field of a type holds, as a detail says it."""
    if type.lower() in MOMENTS and source.timestamp_format:
        return f"{type} as {source.timestamp_format}"
    if source.decimal_comma and type.lower().startswith(NUMBERS):
        return f"{type} with a decimal comma"
    return type


def _moment(text: str, source: Source) -> str:
    """SQL of a moment: by the source's format, on the clock of its time zone where the text has no offset."""
    format, zone = source.timestamp_format, source.time_zone
    if format in TIMESTAMP_UNITS:
        return _since_1970(text, TIMESTAMP_UNITS[format])
    moment = f"try_to_timestamp({text}, {spark_text(format)})" if format else f"try_cast({text} AS timestamp)"
    if zone is None or zone == "UTC":
        return moment
    # Of an hour that the clock skips, Java takes the time an hour later; of an hour that comes twice, the first one.
    shifted = f"to_utc_timestamp({moment}, {spark_text(zone)})"
    if format:
        has_clock, has_zone = (found.search(letters_of(format)) for found in (HOUR, ZONE))
        return shifted if has_clock and not has_zone else moment
    local = f"{text} RLIKE {spark_text(CLOCK)} AND NOT {text} RLIKE {spark_text(CLOCK + '.*[A-Za-z+-]')}"
    return f"IF({local}, {shifted}, {moment})"


def _since_1970(text: str, power: int) -> str:
    """SQL of a moment that is a number of a unit: 10 to the `power` of them are a second."""
    number = f"try_cast({text} AS decimal(38, 9))"
    micros = f"{number} * {10 ** (6 - power)}BD" if power <= 6 else f"{number} / {10 ** (power - 6)}BD"
    first, last = (f"{second * 10**power}BD" for second in SECONDS)
    return f"IF({number} BETWEEN {first} AND {last}, timestamp_micros(CAST(floor({micros}) AS bigint)), NULL)"
