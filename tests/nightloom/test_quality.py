"""`nightloom quality`: which expectations held on which nights, how numbers moved, where bad rows came from."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from expectations.trends import trends
from nightloom.cli import nightloom
from nightloom.contracts import EXPECTATIONS
from nightloom.lake import Lake

Say = Callable[..., None]


def asked(lake: Lake, day: int, expectation: str = "rows of ratings", hour: int = 3, **columns: Any) -> None:
    """One outcome of the night of so many April 1998."""
    row: dict[str, Any] = {
        "run_id": "r", "night": date(1998, 4, day), "table": "bronze.events", "expectation": expectation,
        "severity": "warn", "passed": True, "observed": "7 rows", "observed_value": None, "rows": None, "failed": None,
        "samples": [], "files": [], "checked_at": datetime(1998, 4, day + 1, hour, tzinfo=UTC),
    }  # fmt: skip
    lake.append(EXPECTATIONS, [row | columns])


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    shutil.copy(Path(__file__).parents[2] / "nightloom.toml", tmp_path)
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(tmp_path / "nightloom.toml"))
    return Lake(tmp_path / "data" / "lake")


def run(*words: str) -> Result:
    return CliRunner().invoke(nightloom, ["quality", *words])


def test_a_night_is_a_character_and_a_number_a_bar(lake: Lake) -> None:
    for day, value in enumerate([10, 20, 45, 80], start=1):
        asked(lake, day, observed_value=value, passed=day != 3, severity="stop" if day == 3 else "warn")
    (trend,) = trends(lake, 14)
    assert (trend.marks, trend.sparkline, trend.failed) == ("··✗·", "▁▂▅█", True)
    (newest,) = trends(lake, 2)
    assert (newest.marks, newest.sparkline) == ("✗·", "▁█")


def test_the_last_word_of_a_night_counts_and_a_night_that_was_not_asked_is_empty(lake: Lake) -> None:
    asked(lake, 1, passed=False)
    asked(lake, 1, hour=9)
    asked(lake, 2, "other")
    asked(lake, 3, passed=False)
    one = next(trend for trend in trends(lake, 14) if trend.expectation == "rows of ratings")
    assert (one.marks, one.sparkline) == ("· !", "")


def test_what_always_held_is_counted_and_a_named_table_shows_all_of_it(lake: Lake) -> None:
    for day in (1, 2):
        asked(lake, day, "column_values_to_not_be_null(row_id)", observed="0 of 9 rows", observed_value=0.0)
        asked(lake, day, observed_value=float(day))
    output = run().output
    assert "bronze.events  1998-04-01 to 1998-04-02" in output
    assert "rows of ratings" in output
    assert "not_be_null" not in output
    assert "1 others passed every night." in output
    assert "column_values_to_not_be_null(row_id)  ··" in run("bronze.events").output


def test_a_failure_of_the_last_night_names_rows_and_files(lake: Lake) -> None:
    asked(lake, 1, "bad(value)", passed=False, samples=["event_id e7, value 9.0"], files=["a.jsonl"])
    assert "bad(value): e.g. event_id e7, value 9.0; from a.jsonl" in run().output


def test_json_holds_every_night(lake: Lake) -> None:
    asked(lake, 1, observed_value=3.5)
    (found,) = json.loads(run("--json").output)
    assert found["marks"] == "·"
    assert found["verdicts"][0] == {
        "night": "1998-04-01", "passed": True, "severity": "warn", "observed": "7 rows", "value": 3.5, "samples": [],
        "files": [],
    }  # fmt: skip


def test_before_the_first_night_and_for_a_table_that_is_not_there_it_says_what_to_do(lake: Lake) -> None:
    assert "No gate has looked at it yet." in run().output
    assert "There is no table silver.item; did you mean silver.items?" in run("silver.item").output
