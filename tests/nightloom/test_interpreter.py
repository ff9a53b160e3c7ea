"""interpreter.py: a fork is as a process of its own to whoever called it, and ends with its caller."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from tests.spark_jobs.small_project import TOML

LONG, REAL = "tests.nightloom.long_stage", "spark_jobs.gold_item_stats"
NIGHT = ("--date", "2024-03-01")
ONLY = f"from nightloom.night import interpreter; interpreter.STAGES = ({LONG!r}, {REAL!r}); interpreter.ALSO = ()"
SERVE = f"{ONLY}; from nightloom import stage; stage.become_warm()"
CALL = f"{ONLY}; from nightloom import stage; stage.main()"
ASK = f"{ONLY}; raise SystemExit(not interpreter._answers(dict()))"
STOP = f"{ONLY}; print(interpreter.stop())"
START = f"{ONLY}; print(interpreter.start())"
NUMBERS = count()


class Project:
    """A folder with settings, and commands in its environment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "nightloom.toml").write_text(TOML)
        self.folder = folder
        self.environment = os.environ | {"NIGHTLOOM_CONFIG": str(folder / "nightloom.toml")}

    def begin(self, code: str, *arguments: str, **variables: str) -> tuple[subprocess.Popen[bytes], Path, Path]:
        """A command that runs, and the files of its output and errors."""
        output, errors = (self.folder / f"{name}{next(NUMBERS)}" for name in ("output", "errors"))
        with output.open("wb") as out, errors.open("wb") as err:
            command = [sys.executable, "-c", code, *arguments]
            return subprocess.Popen(command, env=self.environment | variables, stdout=out, stderr=err), output, errors

    def run(self, code: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """A command that has ended: exit code, output, errors."""
        process, output, errors = self.begin(code, *arguments, **variables)
        return process.wait(60), output.read_text(), errors.read_text()

    def long(self) -> tuple[subprocess.Popen[bytes], int]:
        """The caller of a stage that waits, and the process that runs the stage."""
        caller, output, _ = self.begin(CALL, LONG, *NIGHT, NIGHTLOOM_RUN_ID="r7")
        wait_until(lambda: output.read_text().endswith("\n"))
        pid, *found = output.read_text().split()
        assert found == [*NIGHT, "r7", str(Path.cwd())]
        return caller, int(pid)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def warm(project: Project) -> Iterator[psutil.Process]:
    """A project's warm interpreter."""
    server, _, _ = project.begin(SERVE)
    wait_until(lambda: project.run(ASK)[0] == 0)
    yield psutil.Process(server.pid)
    server.terminate()
    server.wait(30)


def test_a_stage_prints_and_ends_as_in_a_process_of_its_own(project: Project, warm: psutil.Process) -> None:
    assert warm.is_running()
    forked, alone = project.run(CALL, REAL, *NIGHT), Project(project.folder.parent / "other").run(CALL, REAL, *NIGHT)
    assert (forked[0], alone[0]) == (1, 1)
    assert "gold.item_days is not in" in forked[2]
    assert forked[2].replace("project", "other") == alone[2]
    assert project.run(CALL, REAL, "--date", "wrong")[0] == 2


def test_a_stage_gets_the_signals_of_its_caller(project: Project, warm: psutil.Process) -> None:
    caller, pid = project.long()
    assert psutil.Process(pid).ppid() == warm.pid
    caller.send_signal(signal.SIGTERM)
    assert caller.wait(30) == 128 + signal.SIGTERM
    wait_until(lambda: not psutil.pid_exists(pid))


def test_a_stage_ends_with_a_caller_that_is_killed(project: Project, warm: psutil.Process) -> None:
    caller, pid = project.long()
    assert psutil.Process(pid).ppid() == warm.pid
    caller.kill()
    caller.wait(30)
    wait_until(lambda: not psutil.pid_exists(pid))
    assert project.run(ASK)[0] == 0


def test_an_interpreter_that_is_stopped_takes_no_more_stages_and_ends_after_those_that_it_runs(
    project: Project, warm: psutil.Process
) -> None:
    caller, pid = project.long()
    assert project.run(STOP)[1] == "the warm interpreter takes no more stages\n"
    assert project.run(STOP)[1] == "no warm interpreter runs\n"
    assert project.run(CALL, REAL, *NIGHT)[2].startswith(f"{REAL}: gold.item_days is not in")
    assert (caller.poll(), psutil.pid_exists(pid), warm.status()) == (None, True, psutil.STATUS_SLEEPING)
    caller.send_signal(signal.SIGTERM)
    assert caller.wait(30) == 128 + signal.SIGTERM
    wait_until(lambda: warm.status() == psutil.STATUS_ZOMBIE)


def test_a_second_interpreter_starts_while_a_stopped_one_still_runs_a_stage(
    project: Project, warm: psutil.Process
) -> None:
    caller, pid = project.long()
    project.run(STOP)
    other, _, _ = project.begin(SERVE)
    wait_until(lambda: project.run(ASK)[0] == 0)
    caller.kill()
    caller.wait(30)
    wait_until(lambda: warm.status() == psutil.STATUS_ZOMBIE)
    assert not psutil.pid_exists(pid)
    assert project.run(ASK)[0] == 0  # the first one has left the second one's address alone
    other.terminate()
    other.wait(30)


def test_a_stage_ends_with_an_interpreter_that_is_killed(project: Project, warm: psutil.Process) -> None:
    caller, pid = project.long()
    warm.kill()
    wait_until(lambda: not psutil.pid_exists(pid))
    assert caller.wait(30) == 128 + signal.SIGKILL


@pytest.mark.parametrize("then", ["", "time.sleep(60)", "interpreter._send(s, dict(stamp=0))"])
def test_a_caller_that_dies_or_hangs_as_it_asks_ends_no_other_stage(
    project: Project, warm: psutil.Process, then: str
) -> None:
    caller, pid = project.long()
    asks = f"{ONLY}; import socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)"
    asks += f"; s.connect(str(interpreter._address())); {then}"
    bad, _, _ = project.begin(asks)
    assert project.run(CALL, REAL, *NIGHT)[2].startswith(f"{REAL}: gold.item_days is not in")
    assert (caller.poll(), psutil.pid_exists(pid), warm.is_running()) == (None, True, True)
    for process in (bad, caller):
        process.kill()
        process.wait(30)
    wait_until(lambda: not psutil.pid_exists(pid))


def test_an_interpreter_that_still_imports_is_stopped_too(project: Project) -> None:
    started = project.run(START)[1]
    pid = int(started.removeprefix("a warm interpreter starts: pid "))
    assert project.run(STOP)[1] == "the warm interpreter takes no more stages\n"
    wait_until(lambda: not psutil.pid_exists(pid))


def test_without_a_folder_for_its_address_there_is_none_and_stages_run_themselves(project: Project) -> None:
    (wrong := project.folder / "tmp").mkdir()
    (wrong / f"nightloom-{os.getuid()}").mkdir(mode=0o755)
    assert "is not a folder of this user alone" in project.run(START, TMPDIR=str(wrong))[1]
    assert project.run(STOP, TMPDIR=str(wrong))[1] == "no warm interpreter runs\n"
    assert project.run(CALL, REAL, *NIGHT, TMPDIR=str(wrong))[2].startswith(f"{REAL}: gold.item_days is not in")


def test_a_caller_with_another_environment_runs_the_stage_itself(project: Project, warm: psutil.Process) -> None:
    code, _, errors = project.run(CALL, REAL, *NIGHT, SWITCH_OF_A_LIBRARY="on")
    refused, error = errors.splitlines()
    assert refused == f"{REAL}: not in the warm interpreter: it has another SWITCH_OF_A_LIBRARY in its environment"
    assert (code, error.startswith(f"{REAL}: gold.item_days is not in")) == (1, True)
    assert warm.is_running()


def test_after_a_change_of_the_code_a_stage_runs_itself(project: Project) -> None:
    stale = SERVE.replace(
        "; from", "; stamps = iter(['old', 'new']); interpreter._stamp = lambda: next(stamps); from", 1
    )
    server, _, _ = project.begin(stale)
    wait_until(lambda: project.run(ASK)[0] == 0)
    errors = project.run(CALL, REAL, *NIGHT)[2]
    server.terminate()
    server.wait(30)
    assert errors.startswith(f"{REAL}: not in the warm interpreter: the code has changed since it started\n")
