"""Gate 1's checks of files: a line that bronze lost stops the night, a file with a fault is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from deltalake import DeltaTable

from expectations.gate import main
from expectations.landing_files import file_checks
from nightloom import contracts as T
from nightloom.errors import GateClosedError
from nightloom.night.context import Night
from nightloom.night.records import Check

D = date(1998, 4, 21)
NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
Put = Callable[..., None]


def row(n: int, file: str = "a.json", lines: int | None = 1, **columns: Any) -> dict[str, Any]:
    return {"row_id": f"{n:064x}", "file": file, "lines": lines, "file_summary": None} | columns


def summary(lines: int, **facts: Any) -> str:
    return json.dumps({"lines": lines, "undecoded": 0, "missing": [], "header": "", "again": False} | facts)


def checks(night: Night) -> dict[str, Check]:
    return {check.name: check for check in file_checks(night)}


def test_the_lines_of_a_file_are_those_of_its_records(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, row(1), row(2, lines=3, file_summary=summary(4)), row(3, "b.json", file_summary=summary(1)))
    observed = "5 lines of 2 files in 3 records; 1 hold more than one line, the longest 3 (a.json)"
    expected = "each line of each file in one record"
    assert checks(night) == {"lines of ratings": Check("lines of ratings", True, observed, expected)}


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(("lost", "found"), [(1, "2 of 3 lines"), (3, "2 of an unknown number of lines")])
def test_a_lost_record_closes_the_gate(lost: int, found: str, night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, row(1), row(2), row(3, file_summary=summary(3)))
    assert checks(replace(night, reads={}))["lines of ratings"].passed
    DeltaTable(night.lake.path(T.BRONZE_EVENTS)).delete(f"row_id = '{lost:064x}'")
    with pytest.raises(GateClosedError, match=rf"lines of ratings is a.json: {found}, expected each line of each file"):
        main(night)


def test_a_file_of_events_that_has_grown_is_counted_and_its_lines_are_not(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, row(1, file_summary=summary(3, again=True)))
    put(T.BRONZE_EVENTS, row(2, "b.json"), row(2, "b.json", night=D - timedelta(days=1)))
    later = NOON + timedelta(hours=1)
    put(T.BRONZE_EVENTS, row(3, "c.json", file_summary=summary(1)), row(4, "c.json", file_modified_at=later))
    check = checks(night)["lines of ratings"]
    assert check.passed
    assert check.observed == "1 lines of 1 files in 1 records; 3 files that have grown are not counted"


def test_a_record_that_was_replayed_belongs_to_no_file(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, row(1, "quarantine/x", lines=None))
    assert checks(night) == {}


def test_faults_of_files_are_warnings_that_name_them(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, *(row(n, f"{n}.csv", None, problem="no csv", file_summary=summary(0)) for n in range(5)))
    facts = {"missing": ["user"], "header": "usr, item", "undecoded": 2}
    put(T.BRONZE_EVENTS, row(7, "7.csv", file_summary=summary(1, **facts)))
    found = {name: check.observed for name, check in checks(night).items() if not check.passed}
    assert {check.severity for check in checks(night).values() if not check.passed} == {"warn"}
    assert found == {
        "unreadable files of ratings": "0.csv: no csv; 1.csv: no csv; 2.csv: no csv; and 2 more files",
        "fields missing in files of ratings": "7.csv: no user; its header is: usr, item",
        "bytes that are no text of ratings": "7.csv: in 2 of 1 lines",
    }
