"""The order of the set-up: a finished step is skipped; a changed or failed one runs again with all that continue it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bootstrap.__main__ import Step, set_up
from bootstrap.shell import SetupError, Shell


class Machine:
    """Steps that record their runs; `keys` are their inputs, `broken` is the step that fails.

    `one` and `two` are the environment; then come the chains `left`, `left end` and `right`, and `other`.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.keys = dict.fromkeys(("one", "two", "left", "left end", "right", "other"), "1")
        self.broken = ""

    def run(self) -> list[str]:
        ran: list[str] = []

        def do(sh: Shell) -> None:
            ran.append(sh.name)
            if sh.name == self.broken:
                raise SetupError(f"no {sh.name}")

        one, two, left, left_end, right, other = (
            Step(name, partial(self.keys.__getitem__, name), do) for name in self.keys
        )
        set_up([one, two], [[left, left_end], [right]], [other], state=self.state)
        return ran


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "state")
    ran = machine.run()
    assert ran[:2] == ["one", "two"]
    assert ran.index("left") < ran.index("left end")
    assert sorted(ran) == sorted(machine.keys)
    return machine


def test_a_finished_step_does_not_run_again(machine: Machine) -> None:
    assert machine.run() == []


def test_a_step_whose_inputs_changed_runs_again_with_all_that_continue_it(machine: Machine) -> None:
    machine.keys["two"] = "2"
    assert {*machine.run()} == {"two", "left", "left end", "right"}
    machine.keys["left"] = "2"
    assert machine.run() == ["left", "left end"]
    machine.keys["other"] = "2"
    assert machine.run() == ["other"]


@pytest.mark.parametrize(
    ("broken", "again"), [("two", {"two", "left", "left end", "right"}), ("left end", {"left end"})]
)
def test_a_failed_step_runs_again_with_all_that_continue_it_even_with_its_old_inputs(
    broken: str, again: set[str], machine: Machine
) -> None:
    machine.keys[broken], machine.broken = "2", broken
    with pytest.raises(SetupError, match=f"no {broken}"):
        machine.run()
    machine.keys[broken], machine.broken = "1", ""
    assert {*machine.run()} == again


def steps(**commands: str) -> list[Step]:
    """Steps that each run a shell command."""

    def runs(command: str) -> Callable[[Shell], None]:
        return lambda sh: sh("sh", "-c", command)

    return [Step(name, str, runs(command)) for name, command in commands.items()]


def wait_for(file: Path) -> str:
    """A shell command that ends well if the file comes within 20 seconds."""
    return f"for i in $(seq 200); do [ -e {file} ] && exit; sleep 0.1; done; exit 1"


def test_chains_run_side_by_side(tmp_path: Path) -> None:
    left, right = steps(
        left=f"touch {tmp_path}/left; {wait_for(tmp_path / 'right')}",
        right=f"touch {tmp_path}/right; {wait_for(tmp_path / 'left')}",
    )
    set_up([], [[left], [right]], state=tmp_path / "state")
    assert {file.name for file in (tmp_path / "state").glob("*.done")} == {"left.done", "right.done"}


def processes(group: Path) -> list[int]:
    """Ids of the living processes of the group whose number is in the file."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        if int(fields[2]) == int(group.read_text()) and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def have_ended(group: Path) -> bool:
    """Whether all processes of a group end within 20 seconds: they have got a signal."""
    for _ in range(200):
        if not processes(group):
            return True
        time.sleep(0.1)
    return False


def test_an_error_stops_the_other_chain_and_only_finished_steps_are_skipped_later(tmp_path: Path) -> None:
    state, group = tmp_path / "state", tmp_path / "group"
    long, finished, broken = steps(
        long=f"echo $$ > {group}; sleep 60",
        finished="true",
        broken=f"while [ ! -s {group} ]; do sleep 0.1; done; echo no luck; exit 3",
    )
    began = time.monotonic()
    with pytest.raises(SetupError, match=r"(?s)ended with 3.*no luck"):
        set_up([], [[long], [finished, broken]], state=state)
    assert time.monotonic() - began < 30
    assert have_ended(group)
    assert {file.name for file in state.glob("*.done")} == {"finished.done"}


def test_an_interrupt_ends_the_commands_of_all_chains(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("left", "right")]
    chains = [steps(**{file.name: f"echo $$ > {file}; sleep 60"}) for file in files]

    def interrupt() -> None:
        while not all(file.exists() and file.read_text() for file in files):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        set_up([], chains, state=tmp_path / "state")
    assert all(map(have_ended, files))
    assert not list((tmp_path / "state").glob("*.done"))
