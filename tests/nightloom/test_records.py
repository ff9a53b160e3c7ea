"""The run records: what the writer leaves is what the reader gives, and each question has one answer."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.night import records, stages
from nightloom.night.records import Check, GateResult, StageRun, Status, stage_runs
from nightloom.night.stages import Stage

D = date(1998, 4, 21)
NEXT = D + timedelta(days=1)
TWO = datetime(1998, 4, 22, 2, tzinfo=UTC)
GOOD, BAD = Check("rows", True, "5", "at least 1"), Check("users", False, "0", "at least 1")
WARNING = Check("new rows", False, "0", "at least 1", "warn")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def run(stage: Stage, minutes: float = 0, status: Status = "ok", night: date = D, run_id: str = "r") -> StageRun:
    return StageRun(
        run_id=run_id, night=night, stage=stage.name, status=status, started_at=TWO + timedelta(minutes=minutes),
        seconds=30.0, reads={"bronze.events": 3}, writes={"silver.interactions": 4}, rows={"inserted": 5},
        tags={"model_version": "7"}, code="c", config="d", error=None if status == "ok" else "why",
    )  # fmt: skip


def record(lake: Lake, *runs: StageRun) -> None:
    for each in runs:
        records.append_run(lake, each)


def result(gate: str, *checks: Check, minutes: float = 0, night: date = D, override: str | None = None) -> GateResult:
    return GateResult(gate, night, "r", TWO + timedelta(minutes=minutes), override, checks)


def test_a_recorded_run_is_read_as_it_was_written(lake: Lake) -> None:
    one = run(stages.BRONZE, status="failed")
    record(lake, one)
    assert stage_runs(lake) == [one]


def test_a_lake_without_records_has_no_runs_no_nights_and_no_gates(lake: Lake) -> None:
    assert stage_runs(lake, stages.BRONZE, night=D) == []
    assert records.nights(lake) == []
    assert records.newest_nights(lake, 3) == {}
    assert records.gate_results_up_to(lake, D) == {}
    with pytest.raises(MissingTableError):
        records.require(lake)


def test_every_filter_lets_only_its_own_runs_pass_and_all_are_in_the_order_of_their_start(lake: Lake) -> None:
    late, early = run(stages.PUBLISH, 9), run(stages.BRONZE, 1)
    failed = run(stages.BRONZE, 2, "failed", run_id="it's")
    after = run(stages.BRONZE, 20, night=NEXT)
    record(lake, late, early, failed, after)
    assert stage_runs(lake) == [early, failed, late, after]
    assert stage_runs(lake, stages.BRONZE, stages.PUBLISH, statuses=records.OK, night=D) == [early, late]
    assert stage_runs(lake, first=NEXT) == [after]
    assert stage_runs(lake, last=D, statuses=("failed",)) == [failed]
    assert stage_runs(lake, run_id="it's") == [failed]
    assert stage_runs(lake, started_until=failed.started_at) == [early, failed]


def test_the_last_attempt_of_a_stage_is_the_one_that_started_last_whatever_its_end(lake: Lake) -> None:
    again = run(stages.BRONZE, 5, "failed")
    record(lake, again, run(stages.BRONZE, 1), run(stages.PUBLISH, 3))
    assert records.last_attempts(stage_runs(lake)) == [run(stages.PUBLISH, 3), again]


def test_nights_are_those_with_a_run_of_the_stage_and_status(lake: Lake) -> None:
    record(lake, run(stages.BRONZE), run(stages.BRONZE, night=NEXT), run(stages.PUBLISH, 1, "failed", NEXT))
    assert records.nights(lake) == [D, NEXT]
    assert records.nights(lake, before=NEXT) == [D]
    assert records.nights(lake, stages.PUBLISH) == [NEXT]
    assert records.nights(lake, stages.PUBLISH, statuses=records.OK) == []
    assert list(records.newest_nights(lake, 1)) == [NEXT]


def outcome_of(*runs: StageRun, served: bool = False) -> tuple[str, str | None]:
    """The outcome of runs, each a minute after the one before, and the stage that stopped the night."""
    timed = [replace(each, started_at=TWO + timedelta(minutes=n)) for n, each in enumerate(runs)]
    stopped = records.stopping_run(timed)
    return records.outcome(timed, served=served), stopped.stage if stopped else None


def of(dag: str, stage: Stage, status: Status) -> StageRun:
    return replace(run(stage, status=status), tags={"dag": dag})


GOOD_NIGHT = [run(stage) for stage in (stages.BRONZE, stages.DATA_GATE, stages.PUBLISH)]


@pytest.mark.parametrize(
    "after",
    [
        [],
        [run(stages.MARTS, status="failed")],
        [run(stages.MARTS_CHECK, status="closed"), run(stages.REPORT, status="failed")],
        [of("retraining", stages.TRAIN, "failed"), of("retraining", stages.MODEL_GATE, "closed")],
        [run(stages.TRAINING_DUE, status="failed"), run(stages.TRAIN, status="failed")],
        [run(stages.MAINTENANCE, status="failed")],
        [run(stages.BRONZE, status="failed", run_id="hand-1")],
        [run(stages.BRONZE), run(stages.DATA_GATE, status="closed")],
        [run(stages.PUBLISH, status="failed")],
        [run(stages.RECOMMENDATIONS, status="failed", run_id="backfill__1")],
    ],
)
def test_a_good_publish_decides_whatever_comes_after_it(after: list[StageRun]) -> None:
    assert outcome_of(*GOOD_NIGHT, *after)[0] == "published"


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([], ("not run", None)),
        ([run(stages.BRONZE)], ("unfinished", None)),
        ([run(stages.BRONZE), of("retraining", stages.TRAIN, "failed")], ("unfinished", None)),
        ([run(stages.MAINTENANCE, status="failed")], ("not run", None)),
        ([run(stages.RECOMMENDATIONS, status="failed", run_id="backfill__1")], ("not run", None)),
        ([run(stages.DATA_GATE, status="closed")], ("closed", stages.DATA_GATE.name)),
        ([run(stages.DATA_GATE, status="closed"), run(stages.DATA_GATE)], ("unfinished", None)),
        (
            [run(stages.DATA_GATE, status="closed"), run(stages.ITEM_DAYS, status="failed")],
            ("failed", stages.ITEM_DAYS.name),
        ),
        ([run(stages.BRONZE), run(stages.MARTS, status="failed")], ("unfinished", None)),
    ],
)
def test_without_a_publish_the_stages_up_to_it_decide(runs: list[StageRun], found: tuple[str, str | None]) -> None:
    assert outcome_of(*runs) == found


def test_a_version_in_the_store_proves_a_publish_that_left_no_row() -> None:
    assert outcome_of(run(stages.PUBLISH, status="failed"), served=True)[0] == "published"


def test_a_gate_is_open_with_a_warning_closed_by_a_failed_check_and_overridden_by_a_person(lake: Lake) -> None:
    for gate in (
        result("data", GOOD, WARNING),
        result("model", GOOD, BAD, minutes=1),
        result("slate", BAD, minutes=2, override="ann: known"),
    ):
        records.append_gate(lake, gate)
    found = records.gate_results(lake, D)
    assert {name: gate.state for name, gate in found.items()} == {
        "data": "open", "model": "closed", "slate": "overridden",
    }  # fmt: skip
    assert (found["data"].warnings, found["model"].failed) == ([WARNING], [BAD])
    assert found["slate"] == result("slate", BAD, minutes=2, override="ann: known")


def test_a_gate_that_did_not_run_counts_with_its_last_result_of_an_earlier_night(lake: Lake) -> None:
    old, new = result("model", GOOD), result("data", BAD, minutes=9, night=NEXT)
    for gate in (old, result("data", GOOD, minutes=1), new, result("marts", GOOD, minutes=10, night=NEXT)):
        records.append_gate(lake, gate)
    assert list(records.gate_results(lake, NEXT)) == ["data", "marts"]
    assert records.gate_results_up_to(lake, NEXT) == {"data": new, "model": old}


def test_a_gate_that_is_asked_again_has_its_last_result(lake: Lake) -> None:
    for gate in (result("data", BAD), result("data", GOOD, minutes=5)):
        records.append_gate(lake, gate)
    assert records.gate_results(lake, D)["data"].state == "open"


def test_a_training_names_each_version_that_it_trained() -> None:
    assert replace(run(stages.TRAIN), tags={"models": "als 2, two tower 3"}).trained_models == {
        "2": "als", "3": "two tower",
    }  # fmt: skip
    assert run(stages.PUBLISH).trained_models == {}


def test_a_model_gate_without_any_model_names_no_version() -> None:
    assert run(stages.MODEL_GATE).model_version == "7"
    assert replace(run(stages.MODEL_GATE), tags={"model_version": "None"}).model_version is None
    assert replace(run(stages.MODEL_GATE), tags={}).model_version is None
