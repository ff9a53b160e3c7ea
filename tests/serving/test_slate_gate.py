"""slate_gate.py and publish.py as the commands that a person or a DAG runs, the tables' expectations included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nightloom.lake import Lake
from nightloom.night import records, stages

if TYPE_CHECKING:
    from tests.serving.conftest import Project

ROOT = Path(__file__).parents[2]


def command(project: Project, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", module, "--date", "1998-04-21", "--config", str(project.root / "nightloom.toml")]
    return subprocess.run([*run, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_commands_close_tell_why_pass_by_a_named_override_and_publish(project: Project) -> None:
    project.plant_all()
    project.plant_histories(users=["bad"])
    project.plant_lists(lists={"bad": ["3", "4", "5", "1"]}, only=["bad"])
    closed = command(project, "serving.slate_gate")
    assert closed.returncode == 3
    assert "slate gate closed for 1998-04-21: seen_item is 1 lists, expected no seen item" in closed.stderr
    passed = command(project, "serving.slate_gate", "--override", "ann: one list of nine")
    assert passed.returncode == 0, passed.stderr
    published = command(project, "serving.publish")
    assert published.returncode == 0, published.stderr
    judged = records.gate_results(Lake(project.settings.place("lake")), project.night().date)[stages.SLATE_GATE.gate]
    assert (judged.state, judged.override) == ("overridden", "ann: one list of nine")
    assert any("gold.recommendations" in check.name for check in judged.checks)
