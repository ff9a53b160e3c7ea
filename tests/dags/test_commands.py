"""Golden files: every task's edges and command, as rendered. NIGHTLOOM_GOLDEN=1 rewrites them; look at the diff."""

import os
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


def written(dag: dict[str, Any]) -> str:
    """One paragraph per task: what it waits for, and its command for each kind of run."""
    paragraphs = []
    for name, task in dag["tasks"].items():
        after = f"  after {', '.join(task['after']) or 'nothing'} ({task['rule'].removeprefix('TriggerRule.').lower()})"
        lines = [f"  {kind}: {commands[name]}" for kind, commands in dag["commands"].items()]
        paragraphs.append("\n".join([f"{name} ({task['kind']})", after, *lines]))
    return "\n\n".join(paragraphs) + "\n"


@pytest.mark.parametrize("dag", ["nightly", "retraining", "backfill", "rebuild", "maintenance"])
def test_every_task_is_the_command_that_its_golden_file_shows(dags: dict[str, Any], dag: str) -> None:
    file, found = GOLDEN / f"{dag}.txt", written(dags[dag])
    if os.environ.get("NIGHTLOOM_GOLDEN") == "1":
        file.write_text(found, encoding="utf8")
    assert found == file.read_text(encoding="utf8")


def test_each_command_is_one_that_a_person_can_run_by_hand(dags: dict[str, Any]) -> None:
    commands = {task: line for dag in dags.values() for task, line in dag["commands"]["asked_for_a_date"].items()}
    assert commands.pop("from_bronze").endswith(" exit 99")  # a switch: whether the tasks after it are run
    for command in commands.values():
        words = command.partition(" python -m ")[2].removeprefix("nightloom.stage ").split()
        assert command.startswith("trigger ") or words[1:3] in (["--date", "1998-04-20"], ["start"], ["stop"])
