"""A stage as a command: exit codes 0, 1, 2, 3 and 99, what its record holds, and what a gate decides."""

import re
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from nightloom import settings as settings_module
from nightloom.contracts import GATES, STAGES, USERS
from nightloom.errors import DataError, GateClosedError
from nightloom.lake import Lake, now
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.days import last_complete_day
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from nightloom.night.revision import code_revision
from nightloom.night.run import RUN_ID_VARIABLE, run_stage
from nightloom.night.stages import Stage

D = date(1998, 4, 21)
DEMO = Stage("demo.stage", "ops", "a stage of these tests", gib=1)
GOOD = Check("rows", True, "5", "at least 1")
BAD = Check("rows", False, "0", "at least 1")
WARNING = Check("new rows", False, "0", "at least 1", severity="warn")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return Path(shutil.copy(Path(__file__).parents[2] / "nightloom.toml", tmp_path))


@pytest.fixture
def lake(config: Path) -> Lake:
    return Lake(settings_module.load(config).place("lake"))


@pytest.fixture
def run(config: Path) -> Callable[..., int]:
    """Run a body as a stage's command would; returns the exit code."""

    def ended(body: Callable[[Night], None], *more: str, **frame: Any) -> int:
        try:
            run_stage(DEMO, body, argv=["--date", "1998-04-21", "--config", str(config), *more], **frame)
        except SystemExit as exit:
            return int(exit.code or 0)
        return 0

    return ended


def the_stage(lake: Lake) -> dict[str, Any]:
    (row,) = lake.rows(STAGES).to_pylist()
    assert isinstance(row, dict)
    return row


def nothing(night: Night) -> None:
    """A stage that does nothing."""


def test_a_stage_that_ends_well_leaves_its_lineage_counts_facts_and_time(
    run: Callable[..., int], lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RUN_ID_VARIABLE, "scheduled__1")
    lake.create(USERS)

    def body(night: Night) -> None:
        night.pin(USERS)
        moment = datetime(1998, 4, 21, tzinfo=UTC)
        night.lake.append(USERS, [{"user_id": "u", "attributes": [], "updated_at": moment, "row_id": "r", "night": D}])
        night.record_write(USERS, 1)
        night.tags["model"] = "7"

    assert run(body) == 0
    row = the_stage(lake)
    assert (row["run_id"], row["night"], row["stage"], row["status"], row["error"]) == (
        "scheduled__1", D, "demo.stage", "ok", None,
    )  # fmt: skip
    assert (row["reads"], row["writes"]) == ([("silver.users", 1)], [("silver.users", 2)])
    assert (row["rows"], row["tags"]) == ([("silver.users", 1)], [("model", "7")])
    assert row["seconds"] > 0
    assert row["code"] == code_revision()
    assert capsys.readouterr().out == "demo.stage 1998-04-21: silver.users 1\n"


def test_a_pinned_table_stays_at_its_version_for_the_whole_stage(run: Callable[..., int], lake: Lake) -> None:
    lake.create(USERS)

    def body(night: Night) -> None:
        first = night.pin(USERS)
        lake.append(USERS, [])
        assert night.pin(USERS) == first < lake.version(USERS)

    assert run(body) == 0


def test_the_time_of_a_stage_counts_from_the_start_of_its_process() -> None:
    code = "import time; from nightloom.night.run import process_seconds; print(time.time() - process_seconds())"
    before = time.time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(before, abs=0.4)


def test_our_own_error_is_exit_code_1_one_line_and_a_failed_row(
    run: Callable[..., int], lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(night: Night) -> None:
        raise DataError("found 3 columns, expected 4")

    assert run(body) == 1
    assert capsys.readouterr().err == "demo.stage: found 3 columns, expected 4\n"
    assert (the_stage(lake)["status"], the_stage(lake)["error"]) == ("failed", "DataError: found 3 columns, expected 4")


def test_any_other_error_keeps_its_traceback_and_leaves_a_failed_row(run: Callable[..., int], lake: Lake) -> None:
    def body(night: Night) -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ZeroDivisionError):
        run(body)
    assert the_stage(lake)["error"] == "ZeroDivisionError: by zero"


def test_wrong_settings_are_exit_code_2_and_leave_no_row(
    run: Callable[..., int], config: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + "\n[stroe]\nkeep = 3\n")
    assert run(nothing) == 2
    assert "Did you mean 'store'?" in capsys.readouterr().err
    assert not lake.exists(STAGES)


def test_a_missing_date_is_exit_code_2(config: Path) -> None:
    with pytest.raises(SystemExit) as exit:
        run_stage(DEMO, nothing, argv=["--config", str(config)])
    assert exit.value.code == 2


def test_a_day_that_is_not_over_must_be_asked_for(
    run: Callable[..., int], lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    today = str(now().date())
    assert run(nothing, "--date", today) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"demo.stage: found the date {today}, expected one up to {last_complete_day(now())}: ")
    assert not lake.exists(STAGES)
    assert run(nothing, "--date", today, "--incomplete") == 0
    assert str(the_stage(lake)["night"]) == today


def test_the_last_complete_day_is_the_one_before_the_moments_utc_day() -> None:
    assert last_complete_day(datetime(1998, 4, 22, 0, 0, tzinfo=UTC)) == D
    assert last_complete_day(datetime(1998, 4, 22, 23, 59, tzinfo=UTC)) == D


def test_nothing_to_do_is_airflows_skip_code_and_says_why(
    run: Callable[..., int], lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda night: night.skip("the champion is young")) == 99
    assert "the champion is young" in capsys.readouterr().err
    assert the_stage(lake)["status"] == "skipped"


def test_a_closed_gate_is_exit_code_3_and_one_line_says_why(
    run: Callable[..., int], lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda night: record_and_enforce(night, stages.DATA_GATE, [GOOD, BAD])) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("demo.stage: data gate closed for 1998-04-21: rows is 0, expected at least 1")
    assert the_stage(lake)["status"] == "closed"
    assert [row["passed"] for row in lake.rows(GATES).to_pylist()] == [True, False]


def test_an_override_opens_a_closed_gate_and_its_words_are_kept(run: Callable[..., int], lake: Lake) -> None:
    override = {"--override": {"metavar": "WHO: WHY"}}
    assert (
        run(
            lambda night: record_and_enforce(night, stages.DATA_GATE, [BAD]),
            "--override",
            "ada: known",
            options=override,
        )
        == 0
    )
    (row,) = lake.rows(GATES).to_pylist()
    assert (row["passed"], row["override"]) == (False, "ada: known")
    assert the_stage(lake)["status"] == "ok"


def test_a_warning_is_printed_and_the_gate_stays_open(
    run: Callable[..., int], lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda night: record_and_enforce(night, stages.DATA_GATE, [WARNING])) == 0
    assert "data gate, warn: new rows: found 0, expected at least 1" in capsys.readouterr().err
    assert dict(the_stage(lake)["writes"]) == {"ops.gates": 2}


def test_a_stage_by_hand_has_a_run_id_that_says_so(
    run: Callable[..., int], lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_ID_VARIABLE, raising=False)
    assert run(nothing) == 0
    assert the_stage(lake)["run_id"].startswith("hand-")


def test_a_night_ends_where_the_next_day_begins(config: Path) -> None:
    night = Night(D, settings_module.load(config), "r", "s", arguments=Namespace())
    assert night.end == datetime(1998, 4, 22, tzinfo=UTC)


def test_a_gate_without_a_command_line_has_no_override(config: Path) -> None:
    with pytest.raises(GateClosedError):
        record_and_enforce(Night(D, settings_module.load(config), "r", "s"), stages.DATA_GATE, [BAD])


def test_the_code_revision_can_be_given_by_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_REVISION", "v1.2")
    assert code_revision() == "v1.2"
    monkeypatch.delenv("NIGHTLOOM_REVISION")
    assert code_revision()
    assert sys.platform != "linux" or code_revision() != "v1.2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--date", "last\nnight"], r"argument --date: 'last\\nnight' is no date; write YYYY-MM-DD"),
        ([], "the following arguments are required: --date"),
        (["--date", "2024-03-01", "--dat\ae"], r"unrecognized arguments: --dat\\x07e"),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_stage(stages.REPORT, lambda night: None, argv=arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert re.search(words, line), line
