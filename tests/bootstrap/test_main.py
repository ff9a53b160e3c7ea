"""The order of the set-up: a done step costs nothing, a changed or cut short one runs again with all after it."""

from functools import partial
from pathlib import Path

import pytest

from bootstrap.__main__ import Step, set_up
from bootstrap.shell import SetupError, Shell


class Machine:
    """Three steps that note when they run; `keys` is what they depend on, `broken` the one that fails."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.keys = {"one": "1", "two": "1", "three": "1"}
        self.broken = ""

    def run(self) -> list[str]:
        ran: list[str] = []

        def do(sh: Shell) -> None:
            ran.append(sh.name)
            if sh.name == self.broken:
                raise SetupError(f"no {sh.name}")

        set_up([Step(name, partial(self.keys.__getitem__, name), do) for name in self.keys], self.notes)
        return ran


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "notes")
    assert machine.run() == ["one", "two", "three"]
    return machine


def test_a_step_that_is_done_is_not_done_again(machine: Machine) -> None:
    assert machine.run() == []


def test_a_step_whose_inputs_changed_runs_again_with_all_after_it(machine: Machine) -> None:
    machine.keys["two"] = "2"
    assert machine.run() == ["two", "three"]


def test_a_step_that_failed_runs_again_with_all_after_it_though_its_inputs_are_the_old_ones(machine: Machine) -> None:
    machine.keys["two"], machine.broken = "2", "two"
    with pytest.raises(SetupError, match="no two"):
        machine.run()
    machine.keys["two"], machine.broken = "1", ""
    assert machine.run() == ["two", "three"]
