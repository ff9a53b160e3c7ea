"""field_texts.py: times by unit, pattern and time zone, numbers with a decimal comma, missing values, `_metadata`."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.parsing import parse, with_verdict
from spark_jobs.silver_interactions import TYPES
from tests.spark_jobs.small_project import NOON, bronze, event, frame, source

TIMED = {"user_id": "string", "item_id": "string", "value": "string", "at": "timestamp"}
pytestmark = pytest.mark.usefixtures("quick")


def verdicts(spark: SparkSession, key: str, texts: list[Any], **changes: Any) -> list[Any]:
    """The rows that records with these texts in one field become."""
    given = [event(event_id=..., event=...) | {key: text} for text in texts]
    rows = frame(spark, [bronze(raw, file=f"{n:03}") for n, raw in enumerate(given)])
    parsed = with_verdict(parse(rows, [source(**changes)], TYPES, undeclared=False)).orderBy("file")
    # Python holds no time after 9999.
    return parsed.selectExpr("verdict", "value", "CAST(occurred_at AS string) AS at", "user_id", "rescued").collect()


def times(spark: SparkSession, texts: list[Any], **changes: Any) -> list[str | None]:
    """The times that they become; None where the row goes to quarantine, which says why."""
    found = verdicts(spark, "at", texts, fields=TIMED, **changes)
    for row, text in zip(found, texts, strict=True):
        assert row.verdict.outcome == "good" or str(text) in row.verdict.detail or text in ("", None), row.verdict
    return [row.at if row.verdict.outcome == "good" else None for row in found]


@pytest.mark.parametrize(
    ("unit", "power"), [("seconds", 0), ("milliseconds", 3), ("microseconds", 6), ("nanoseconds", 9)]
)
def test_a_number_is_a_moment_of_the_declared_unit_and_of_no_other(spark: SparkSession, unit: str, power: int) -> None:
    own = 1709287200 * 10**power + (123456 * 10**power) // 10**6
    fraction = {0: "", 3: ".123", 6: ".123456", 9: ".123456"}[power]
    others = [1709287200 * 10**other for other in (0, 3, 6, 9) if other != power]
    texts = [own, str(own), f" {own} ", *others, 0, -1, "", "2024-03-01", "1e", "9" * 40, None]
    found = times(spark, texts, timestamp_format=unit)
    assert found == [f"2024-03-01 10:00:00{fraction}"] * 3 + [None] * (len(texts) - 3)


def test_a_number_of_seconds_may_have_decimals_and_an_exponent(spark: SparkSession) -> None:
    found = times(spark, ["1709287200.25", 1709287200.25, "1.7092872E9", "1709287200."], timestamp_format="seconds")
    assert found == ["2024-03-01 10:00:00.25", "2024-03-01 10:00:00.25", *["2024-03-01 10:00:00"] * 2]
    (row,) = verdicts(spark, "at", ["x"], fields=TIMED, timestamp_format="seconds")
    assert row.verdict.detail == "field at is 'x', expected timestamp as seconds"


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("d.M.yyyy H:mm", {"1.3.2024 9:05": "2024-03-01 09:05:00", "01.03.2024 09:05": "2024-03-01 09:05:00"},
         ["2024-03-01 09:05", "31.2.2024 9:05", "1.3.2024", "9:05", "1.3.2024 24:05", "1.3.24 9:05"]),
        ("M/d/yyyy h:mm:ss a", {"11/1/2019 9:05:58 PM": "2019-11-01 21:05:58"}, ["13/1/2019 9:05:58 AM"]),
        ("yyyyMMdd", {"20240301": "2024-03-01 00:00:00"}, ["2024-03-01", "20241301", "10:30"]),
        ("dd MMM yyyy", {"01 Mar 2024": "2024-03-01 00:00:00"}, ["01 Mrz 2024"]),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", {"2024-03-01T10:00:00+01:00": "2024-03-01 09:00:00"}, ["2024-03-01T10:00:00"]),
        ("yyyy-MM-dd[ HH:mm]", {"2024-03-01": "2024-03-01 00:00:00", "2024-03-01 10:30": "2024-03-01 10:30:00"}, ["x"]),
    ],
)  # fmt: skip
def test_a_text_fits_its_pattern_or_goes_to_quarantine(
    spark: SparkSession, pattern: str, good: dict[str, str], bad: list[str]
) -> None:
    assert times(spark, [*good, *bad], timestamp_format=pattern) == [*good.values(), *[None] * len(bad)]


SUMMER, GAP, FIRST_OF_TWO = "2024-07-01 10:00:00", "2024-03-31 02:30:00", "2024-10-27 02:30:00"


def test_a_local_time_has_its_daylight_saving_and_a_text_with_an_offset_its_own(spark: SparkSession) -> None:
    expected = {
        "2024-01-01 10:00:00": "2024-01-01 09:00:00",
        SUMMER: "2024-07-01 08:00:00",
        "2024-07-01T10:00": "2024-07-01 08:00:00",
        GAP: "2024-03-31 01:30:00",  # the clock goes from 2:00 to 3:00
        FIRST_OF_TWO: "2024-10-27 00:30:00",
        "2024-07-01T10:00:00Z": SUMMER,
        "2024-07-01 10:00:00.5+05:30": "2024-07-01 04:30:00.5",
        "2024-07-01 10:00:00-04:00": "2024-07-01 14:00:00",
        "2024-07-01 10:00:00 America/New_York": "2024-07-01 14:00:00",
        "2024-07-01": "2024-07-01 00:00:00",
    }
    assert times(spark, [*expected], time_zone="Europe/Berlin") == [*expected.values()]
    assert times(spark, [*expected, "10:30"])[:3] == ["2024-01-01 10:00:00", SUMMER, SUMMER]
    assert times(spark, ["10:30", "2024-02-30 10:00"], time_zone="Europe/Berlin") == [None, None]


@pytest.mark.parametrize(
    ("pattern", "text", "moment"),
    [
        ("d.M.yyyy H:mm:ss", "31.3.2024 2:30:00", "2024-03-31 01:30:00"),
        ("d.M.yyyy H:mm:ss", "27.10.2024 2:30:00", "2024-10-27 00:30:00"),
        ("d.M.yyyy H:mm:ss Z", "1.7.2024 10:00:00 +0000", SUMMER),
        ("d.M.yyyy", "1.7.2024", "2024-07-01 00:00:00"),
        ("d.M.yyyy 'h'", "1.7.2024 h", "2024-07-01 00:00:00"),
        ("milliseconds", "1719828000000", SUMMER),
    ],
)
def test_a_pattern_with_a_clock_and_without_an_offset_is_of_the_time_zone(
    spark: SparkSession, pattern: str, text: str, moment: str
) -> None:
    assert times(spark, [text], timestamp_format=pattern, time_zone="Europe/Berlin") == [moment]


@pytest.mark.parametrize("type", ["double", "decimal(12,3)", "float"])
def test_a_decimal_comma_is_one_and_a_decimal_point_is_none(spark: SparkSession, type: str) -> None:
    good = {"1,5": 1.5, "1.234,5": 1234.5, "-1.234.567": -1234567, "1 234,5": 1234.5, "1\u00a0234": 1234, "12": 12,
            "1\u202f234,25": 1234.25, "+7": 7, " 8 ": 8}  # fmt: skip
    bad = ["1.5", "1,234.5", "12.34,5", "1,2,3", "1e5", ",5", "many", "1..234"]
    found = verdicts(spark, "value", [*good, *bad], fields=TIMED | {"value": type}, decimal_comma=True)
    assert [row.value for row in found[: len(good)]] == [*good.values()]
    assert {row.verdict.outcome for row in found[: len(good)]} == {"good"}
    assert [row.verdict.detail for row in found[len(good) :]] == [
        f"field value is '{text}', expected {type} with a decimal comma" for text in bad
    ]


def test_texts_that_are_declared_as_missing_are_no_values_in_any_field(spark: SparkSession) -> None:
    texts = ["NULL", "\\N", "-", "", "null", "5"]
    own = {"fields": TIMED | {"value": "double"}, "null_values": ["NULL", "\\N", "-"]}
    found = verdicts(spark, "value", texts, **own)
    assert [(row.verdict.reason, row.value) for row in found] == [
        ("", None), ("", None), ("", None), ("type", None), ("type", None), ("", 5.0),
    ]  # fmt: skip
    assert verdicts(spark, "user_id", ["NULL"], **own)[0].verdict.reason == "missing"


def test_expressions_know_the_file_of_a_record_and_its_place_in_it(spark: SparkSession) -> None:
    columns = source().columns | {
        "user_id": "concat_ws('|', _metadata.file_path, _metadata.file_name, _metadata.row_index)",
        "occurred_at": "timestamp_micros(unix_micros(_metadata.file_modification_time) + _metadata.row_index)",
    }
    numbered = source(columns=columns)
    raw = event(event_id=..., event=..., _row_index=7)
    rows = frame(spark, [bronze(raw, file="landing/day=1/a.csv"), bronze(raw | {"more": 1}, file="b.csv")])
    first, second = with_verdict(parse(rows, [numbered], TYPES)).orderBy("user_id").collect()[::-1]
    assert (first.user_id, first.occurred_at.replace(tzinfo=UTC)) == (
        "landing/day=1/a.csv|a.csv|7",
        datetime.fromisoformat(NOON.isoformat()).replace(microsecond=7),
    )
    assert (first.rescued, second.rescued) == (None, {"more": "1"})


def test_a_source_of_json_says_that_its_lines_are_python(spark: SparkSession) -> None:
    rows = frame(spark, [bronze("{'user_id': None}")])
    (row,) = with_verdict(parse(rows, [source()], TYPES)).collect()
    expected = "not a record of a json source; it looks like a Python dict: write `format = 'python'`"
    assert (row.verdict.reason, row.verdict.detail) == ("unreadable", expected)
