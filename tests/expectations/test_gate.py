"""Gate 1: what opens it, what closes it, its messages, and the command's exit code."""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from expectations.gate import checked_tables, count_checks, main
from nightloom import contracts as T
from nightloom.errors import GateClosedError
from nightloom.night.context import Night
from nightloom.night.records import Check

D = date(1998, 4, 21)
Put = Callable[..., None]


def checks_by_name(night: Night) -> dict[str, Check]:
    return {check.name: check for check in count_checks(night)}


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.usefixtures("sound")
def test_sound_data_opens_the_gate_and_every_verdict_is_kept(night: Night) -> None:
    main(night)
    kept = night.lake.rows(T.GATES).to_pylist()
    assert {row["gate"] for row in kept} == {"data"}
    assert all(row["passed"] for row in kept)
    assert {"silver.interactions as declared", "event rows in quarantine"} <= {row["check"] for row in kept}
    assert night.counts == {"checks": len(kept), "failed": 0}


@pytest.mark.usefixtures("sound")
def test_one_impossible_value_in_silver_closes_the_gate_and_the_line_names_it(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"event_id": "e7", "value": 9.0})
    with pytest.raises(GateClosedError, match="data gate closed for 1998-04-21") as closed:
        main(night)
    assert "silver.interactions: column_values_to_be_between(value, row_condition=" in str(closed.value)
    assert "1 of 2 rows, e.g. event_id e7, value 9.0" in str(closed.value)


@pytest.mark.usefixtures("sound")
def test_an_override_lets_the_night_pass_and_is_kept_beside_each_check(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"event_id": "e7", "value": 9.0})
    night.arguments = Namespace(override="ada: known sensor fault")
    main(night)
    kept = night.lake.rows(T.GATES).to_pylist()
    assert {row["override"] for row in kept} == {"ada: known sensor fault"}
    assert not all(row["passed"] for row in kept)


def test_more_bad_rows_than_allowed_close_the_gate_and_name_the_most_frequent_reasons(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, *({"row_id": digest(n)} for n in range(10)))
    put(T.QUARANTINE_ROWS, *({"row_id": digest(n), "reason": "type"} for n in range(2)))
    put(T.QUARANTINE_ROWS, {"row_id": digest(2), "reason": "missing"})
    check = checks_by_name(night)["event rows in quarantine"]
    assert not check.passed
    assert check.observed == "30.0% (3 of 10 rows: type 2, missing 1)"
    assert check.expected == "at most 20.0%, or one row"


def test_one_bad_row_closes_no_gate_however_few_rows_came(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, {"row_id": digest(1)}, {"row_id": digest(2)})
    put(T.QUARANTINE_ROWS, {"row_id": digest(2)})
    check = checks_by_name(night)["event rows in quarantine"]
    assert (check.passed, check.observed) == (True, "50.0% (1 of 2 rows: type 1)")


def test_bad_rows_of_other_nights_and_kinds_do_not_count_against_this_night(night: Night, put: Put) -> None:
    put(T.BRONZE_EVENTS, {"row_id": digest(1)}, {"row_id": digest(2), "night": date(1998, 4, 20)})
    put(T.QUARANTINE_ROWS, {"row_id": digest(2)}, {"row_id": digest(3), "kind": "items"})
    check = checks_by_name(night)["event rows in quarantine"]
    assert check.passed
    assert check.observed == "0.0% (0 of 1 rows)"


@pytest.mark.usefixtures("sound")
def test_a_night_without_new_rows_is_a_warning_and_the_gate_stays_open(night: Night) -> None:
    night.date = date(1998, 4, 22)
    main(night)
    kept = {row["check"]: row for row in night.lake.rows(T.GATES).to_pylist()}
    assert (kept["new event rows"]["passed"], kept["new event rows"]["severity"]) == (False, "warn")


def test_fewer_interactions_than_required_close_the_gate_and_later_ones_do_not_count(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"occurred_at": datetime(1998, 4, 22, tzinfo=UTC)})
    check = checks_by_name(night)["interactions up to 1998-04-21"]
    assert (check.passed, check.observed, check.expected, check.severity) == (False, "0", "at least 1", "stop")


def test_tables_of_kinds_that_no_source_delivers_are_not_checked(night: Night, put: Put) -> None:
    events_only = tuple(source for source in night.settings.sources if source.kind == "events")
    night.settings = night.settings.model_copy(update={"sources": events_only})
    assert checked_tables(night) == [T.BRONZE_EVENTS, T.INTERACTIONS]
    put(T.QUARANTINE_ROWS, {})
    assert checked_tables(night) == [T.BRONZE_EVENTS, T.INTERACTIONS, T.QUARANTINE_ROWS]


@pytest.mark.usefixtures("sound")
def test_the_command_exits_3_with_one_line_when_the_gate_is_closed(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"event_id": "e7", "value": 9.0})
    closed = command(night)
    assert closed.returncode == 3
    assert "expectations.gate: data gate closed for 1998-04-21" in closed.stderr.splitlines()[-1]
    assert "Traceback" not in closed.stderr
    assert night.lake.rows(T.STAGES, columns=["status"]).to_pylist() == [{"status": "closed"}]


def command(night: Night) -> "subprocess.CompletedProcess[str]":
    words: list[Any] = [sys.executable, "-m", "expectations.gate", "--date", D, "--config", night.settings.file]
    root = Path(__file__).parents[2]
    return subprocess.run(list(map(str, words)), cwd=root, capture_output=True, text=True, timeout=120, check=False)
