"""The order of the set-up: finished steps are skipped; a changed or interrupted step runs again with all after it."""

from functools import partial
from pathlib import Path

import pytest

from bootstrap.__main__ import Step, set_up
from bootstrap.shell import SetupError, Shell


class Machine:
    """Three steps that record their runs; `keys` are their inputs, `broken` is the step that fails."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.keys = {"one": "1", "two": "1", "three": "1"}
        self.broken = ""

    def run(self) -> list[str]:
        ran: list[str] = []

        def do(sh: Shell) -> None:
            ran.append(sh.name)
            if sh.name == self.broken:
                raise SetupError(f"no {sh.name}")

        set_up([Step(name, partial(self.keys.__getitem__, name), do) for name in self.keys], self.state)
        return ran


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "state")
    assert machine.run() == ["one", "two", "three"]
    return machine


def test_a_finished_step_does_not_run_again(machine: Machine) -> None:
    assert machine.run() == []


def test_a_step_whose_inputs_changed_runs_again_with_all_after_it(machine: Machine) -> None:
    machine.keys["two"] = "2"
    assert machine.run() == ["two", "three"]


def test_a_failed_step_runs_again_with_all_after_it_even_with_its_old_inputs(machine: Machine) -> None:
    machine.keys["two"], machine.broken = "2", "two"
    with pytest.raises(SetupError, match="no two"):
        machine.run()
    machine.keys["two"], machine.broken = "1", ""
    assert machine.run() == ["two", "three"]
