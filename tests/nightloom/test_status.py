"""`nightloom status` on run records as stages leave them."""

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nightloom.cli import nightloom
from nightloom.contracts import GATES, STAGES
from nightloom.lake import Lake
from nightloom.night.status import last_nights
from nightloom.places import folder_of
from tests.serving.sample_stores import open_store_at, publish_sample

D = date(1998, 4, 21)
TWO = datetime(1998, 4, 22, 2, tzinfo=UTC)
Facts = dict[str, str]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    shutil.copy(Path(__file__).parents[2] / "nightloom.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return Lake(tmp_path / "data" / "lake")


def ran(lake: Lake, stage: str, at: float, seconds: float = 5, facts: Facts | None = None, **given: Any) -> None:
    """A stage's row, started `at` seconds after two in the morning."""
    row = {
        "run_id": "r1", "night": D, "stage": stage, "status": "ok", "started_at": TWO + timedelta(seconds=at),
        "seconds": float(seconds), "reads": [], "writes": [], "rows": [], "tags": list((facts or {}).items()),
        "code": "c", "config": "d", "error": None,
    }  # fmt: skip
    lake.append(STAGES, [row | given])


def asked(lake: Lake, gate: str, *checks: tuple[str, bool, str], at: float = 0, override: str | None = None) -> None:
    stamp = {"run_id": "r1", "night": D, "gate": gate, "checked_at": TWO + timedelta(seconds=at), "override": override}
    values = {"observed": "0", "expected": "1"}
    rows = [stamp | values | {"check": name, "passed": passed, "severity": how} for name, passed, how in checks]
    lake.append(GATES, rows)


def a_night(lake: Lake) -> None:
    ran(lake, "spark_jobs.bronze", 0, 10, rows=[("bronze.events", 100_000)])
    ran(lake, "expectations.gate", 10)
    ran(lake, "spark_jobs.gold_recommendations", 20, facts={"model_version": "3"})
    ran(lake, "serving.publish", 30, facts={"published_version": "12", "model_version": "3"})
    ran(lake, "serving.report", 40, 60)
    asked(lake, "data", ("rows", True, "stop"), ("new rows", False, "warn"), at=12)


def show(*words: str) -> str:
    result = CliRunner().invoke(nightloom, ["status", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("lake")
def test_before_the_first_night_it_says_so_and_how_to_run_one() -> None:
    assert show() == "No night has run yet. `nightloom night --date YYYY-MM-DD` runs one.\n"
    assert json.loads(show("--json")) == []


def test_a_good_night_shows_stages_in_order_seconds_rows_gates_and_versions(lake: Lake) -> None:
    a_night(lake)
    (night,) = last_nights(lake, 3, {})
    assert (night.night, night.status) == (D, "published")
    assert [stage.stage for stage in night.stages][:2] == ["spark_jobs.bronze", "expectations.gate"]
    assert night.stages[0].rows == {"bronze.events": 100_000}
    assert (night.model_version, night.published_version) == ("3", "12")
    shown = show()
    assert "1998-04-21  published  35 s, model 3, serving version 12" in shown
    assert "bronze.events 100,000" in shown
    assert "gate data: open (2 checks)" in shown
    assert "new rows: 0, expected 1 (warn)" in shown


def test_the_wall_ends_with_the_publish_and_not_with_what_came_after(lake: Lake) -> None:
    a_night(lake)
    (night,) = last_nights(lake, 1, {})
    assert (night.wall_seconds, night.work_seconds) == (35.0, 85.0)


def test_what_comes_after_the_publish_is_shown_and_leaves_the_night_published(lake: Lake) -> None:
    a_night(lake)
    ran(lake, "spark_jobs.marts", 100, status="failed", error="DataError: no")
    ran(lake, "training.train", 200, status="failed", error="TrainingError: lost", facts={"dag": "retraining"})
    ran(lake, "spark_jobs.bronze", 300, status="failed", run_id="hand-1", error="DataError: by hand")
    (night,) = last_nights(lake, 1, {})
    assert (night.status, night.wall_seconds) == ("published", 35.0)
    assert "training.train" not in {stage.stage for stage in night.stages}
    assert [(stage.stage, stage.status) for stage in night.other_dags["retraining"]] == [("training.train", "failed")]
    shown = show()
    for line in ("spark_jobs.marts failed: DataError: no", "training.train failed: TrainingError: lost"):
        assert line in shown
    assert shown.index("spark_jobs.bronze failed") < shown.index("Also for 1998-04-21: retraining")


def test_a_publish_that_was_killed_after_the_flip_is_proven_by_the_stores_version(lake: Lake) -> None:
    ran(lake, "expectations.gate", 0)
    publish_sample(open_store_at("lmdb", str(lake.root.parent / "store")), folder_of(lake.root))
    assert "1998-04-21  published" in show()
    assert "serving version 1" in show()


def test_a_store_that_does_not_answer_is_reported_and_the_run_records_are_shown(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_night(lake)
    monkeypatch.setenv("NIGHTLOOM_STORE__KIND", "redis")
    monkeypatch.setenv("NIGHTLOOM_PLACES__STORE_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(nightloom, ["status"], catch_exceptions=False)
    assert result.stderr.startswith("The store does not answer, so the run records alone say what was published: ")
    assert "1998-04-21  published" in result.stdout


def test_stages_by_hand_have_no_wall_but_a_sum_of_work(lake: Lake) -> None:
    ran(lake, "spark_jobs.bronze", 0, run_id="hand-1")
    ran(lake, "expectations.gate", 9000, run_id="hand-2")
    assert last_nights(lake, 1, {})[0].wall_seconds is None
    assert "10 s of work" in show()


def test_the_latest_attempt_counts_and_the_earlier_ones_are_numbered(lake: Lake) -> None:
    ran(lake, "spark_jobs.bronze", 0, status="failed", error="DataError: no")
    ran(lake, "spark_jobs.bronze", 60, 7)
    (stage,) = last_nights(lake, 1, {})[0].stages
    assert (stage.status, stage.seconds, stage.attempts, stage.error) == ("ok", 7.0, 2, None)


def test_a_failed_stage_is_the_nights_status_and_its_error_is_shown(lake: Lake) -> None:
    ran(lake, "spark_jobs.bronze", 0, status="failed", error="DataError: [red] columns")
    assert last_nights(lake, 1, {})[0].status == "failed"
    assert "spark_jobs.bronze failed: DataError: [red] columns" in show()


def test_a_closed_gate_is_the_nights_status(lake: Lake) -> None:
    ran(lake, "expectations.gate", 0, status="closed", error="data gate closed")
    asked(lake, "data", ("share", False, "stop"))
    (night,) = last_nights(lake, 1, {})
    assert (night.status, night.gates[0].verdict, night.gates[0].failed) == (
        "closed", "closed", ("share: 0, expected 1 (stop)",),
    )  # fmt: skip


def test_only_the_last_time_that_a_gate_was_asked_counts(lake: Lake) -> None:
    ran(lake, "expectations.gate", 0)
    asked(lake, "data", ("share", False, "stop"), at=1)
    asked(lake, "data", ("share", False, "stop"), at=2, override="ada: known")
    (gate,) = last_nights(lake, 1, {})[0].gates
    assert (gate.verdict, gate.checks, gate.override) == ("overridden", 1, "ada: known")
    assert "gate data: overridden, by ada: known (1 checks)" in show()


def test_as_many_nights_as_asked_for_newest_first(lake: Lake) -> None:
    for day in (20, 22, 21):
        ran(lake, "spark_jobs.bronze", 0, night=date(1998, 4, day))
    assert [night.night.day for night in last_nights(lake, 2, {})] == [22, 21]
    assert [night["night"] for night in json.loads(show("--nights", "1", "--json"))] == ["1998-04-22"]


def test_a_night_that_is_still_on_its_way_is_unfinished(lake: Lake) -> None:
    ran(lake, "spark_jobs.bronze", 0)
    assert last_nights(lake, 1, {})[0].status == "unfinished"
