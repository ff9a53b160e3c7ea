"""What a gate's validation leaves: ops.expectations, one row an expectation, with sample rows and their files."""

from collections.abc import Callable
from typing import Any

import pytest

from expectations.measure import Measure
from expectations.validate import validate
from nightloom import contracts as T
from nightloom.night.context import Night
from nightloom.night.records import Check

Put = Callable[..., None]
BETWEEN = "column_values_to_be_between(value, row_condition=event == rating, min_value=1.0, max_value=5.0)"


def kept(night: Night, where: str = "true") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = night.lake.rows(T.EXPECTATIONS, where).to_pylist()
    return rows


def test_every_expectation_is_a_row_under_a_name_that_stays(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {})
    validate(night, [T.INTERACTIONS])
    first = kept(night)
    validate(night, [T.INTERACTIONS])
    assert len({row["expectation"] for row in first}) == len(first) > 20
    assert {row["expectation"] for row in kept(night)} == {row["expectation"] for row in first}
    assert {(row["passed"], row["severity"], row["table"]) for row in first} == {(True, "stop", "silver.interactions")}
    (between,) = [row for row in first if row["expectation"] == BETWEEN]
    assert (between["observed"], between["observed_value"], between["rows"], between["failed"]) == (
        "0 of 1 rows", 0.0, 1, 0,
    )  # fmt: skip


def test_a_failure_names_rows_and_the_files_they_came_out_of(night: Night, put: Put) -> None:
    ids = [f"{number:064x}" for number in range(3)]
    files = ["a.jsonl", "b.jsonl", "unused.jsonl"]
    put(T.BRONZE_EVENTS, *({"row_id": row, "file": file} for row, file in zip(ids, files, strict=True)))
    put(T.INTERACTIONS, {"row_id": ids[2]})
    put(T.INTERACTIONS, *({"event_id": f"bad{n}", "value": 9.0, "row_id": ids[n]} for n in range(2)))
    (check,) = validate(night, [T.INTERACTIONS])
    (row,) = kept(night, "NOT passed")
    assert (row["expectation"], row["rows"], row["failed"], row["observed_value"]) == (
        BETWEEN,
        3,
        2,
        pytest.approx(2 / 3),
    )
    assert sorted(row["samples"]) == ["event_id bad0, value 9.0", "event_id bad1, value 9.0"]
    assert sorted(row["files"]) == ["a.jsonl", "b.jsonl"]
    assert check.name == f"silver.interactions: {BETWEEN}"
    assert check.observed.startswith("2 of 3 rows, e.g. event_id bad")
    assert "; from " in check.observed


def test_rows_that_carry_their_file_need_no_bronze_and_others_name_none(night: Night, put: Put, slip: Put) -> None:
    put(T.QUARANTINE_ROWS, {"row_id": "q1", "reason": "because", "file": "own.jsonl"})
    put(T.INTERACTIONS, {"value": 9.0, "row_id": "gone"})
    validate(night, [T.QUARANTINE_ROWS, T.INTERACTIONS])
    files = {row["table"]: (row["samples"], row["files"]) for row in kept(night, "NOT passed")}
    assert files == {
        "quarantine.rows": (["row_id q1, reason because"], ["own.jsonl"]),
        "silver.interactions": (["event_id e1, value 9.0"], []),
    }


def test_a_measure_is_judged_by_its_limits_and_noted_without(night: Night) -> None:
    measures = [
        Measure(T.BRONZE_EVENTS, "rows of ratings", 7.0, "7 rows", 1.0, 9.0),
        Measure(T.BRONZE_EVENTS, "rows of clicks", 10.0, "10 rows", 1.0, 9.0, "stop"),
        Measure(T.BRONZE_EVENTS, "rows of views", 3.0, "3 rows; no past yet"),
        Measure(T.INTERACTIONS, "drift of hours", None, "no past yet"),
        Measure(T.INTERACTIONS, "age", 50.0, "50 hours", None, 24.0),
    ]
    checks = validate(night, [], measures)
    assert checks == [
        Check("bronze.events: rows of ratings", True, "7 rows", "1 to 9", "warn"),
        Check("bronze.events: rows of clicks", False, "10 rows", "1 to 9", "stop"),
        Check("bronze.events: rows of views", True, "3 rows; no past yet", "no limit yet", "warn"),
        Check("silver.interactions: drift of hours", True, "no past yet", "no limit yet", "warn"),
        Check("silver.interactions: age", False, "50 hours", "at most 24", "warn"),
    ]
    assert {row["expectation"]: row["observed_value"] for row in kept(night)} == {
        "rows of ratings": 7.0, "rows of clicks": 10.0, "rows of views": 3.0, "drift of hours": None, "age": 50.0,
    }  # fmt: skip
