"""docs/quality.md: every command in it runs, in its order, on a lake that a gate has looked at; its names exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from expectations.gate import main
from nightloom import contracts as T
from nightloom.cli import nightloom
from nightloom.night.context import Night
from nightloom.settings import DataGate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quality.md").read_text(encoding="utf8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.mark.usefixtures("sound")
def test_each_command_of_the_page_runs(night: Night, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(night.settings.file))
    main(night)
    outputs = {" ".join(words): output(words) for words in commands()}
    assert len(outputs) == 6
    assert "rows of ratings" not in outputs["nightloom quality"]
    assert "rows of ratings" in outputs["nightloom quality --json"]
    assert "silver.interactions" in outputs["python -m spark_jobs.maintenance --date 1998-04-22"]
    assert "silver.interactions" in next(text for line, text in outputs.items() if "FROM ops.storage" in line)


def output(words: list[str]) -> str:
    """Run a command as a shell would, from the project's folder -> what it outputs."""
    if words[0] == "nightloom":
        done = CliRunner().invoke(nightloom, words[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output
    ran = subprocess.run(
        [sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_keys_and_tables_that_the_page_names_exist() -> None:
    rows = re.findall(r"^\|.*\| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert (
        set(rows)
        == {"max_rows_change", "max_age_hours", "max_undescribed", "max_drift"}
        <= DataGate.model_fields.keys()
    )
    named = {name for name in re.findall(r"`(ops\.\w+|silver\.\w+)`", PAGE)}
    assert named <= {table.full_name for table in T.TABLES}
