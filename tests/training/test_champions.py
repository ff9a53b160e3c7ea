"""The champion set by hand: promote, demote, history, and how the gate respects it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from models import registry
from models.registry import RegistryError
from nightloom.cli import nightloom
from nightloom.contracts import CHAMPIONS
from nightloom.settings import Settings
from tests.training.small_project import MakeProject, Row, Track, event, night_of
from training import champions, model_gate, registration, train
from training.champions import demoted_versions, promoted_versions

# Warnings are errors here, but MLflow's own are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*")
    for kind in ("UserWarning", "DeprecationWarning", "FutureWarning")
]
PAGE = (Path(__file__).parents[2] / "docs" / "retraining.md").read_text(encoding="utf8")
AUTHOR = ("--by", "ann", "--why", "the [new] one looks odd")


def run_command(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(nightloom, ["--config", str(settings.file), "model", *words])


def champion(settings: Settings) -> str | None:
    champion = registry.champion(settings)
    return champion.version if champion else None


@pytest.fixture
def served(project: MakeProject, tracked: Track, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Version 1 is champion by the gate; version 2, which has no gain, is registered too."""
    monkeypatch.setenv("NIGHTLOOM_CONFIG", "")  # the command sets it; monkeypatch restores it
    settings = tracked(project(["popularity"], [event("ann", "x", 5), event("bob", "x", 1)]))
    for _ in range(2):
        train.main(night_of(settings, when="always", model=None))
        model_gate.main(night_of(settings, override=None))
    return settings


def test_promote_and_demote_by_hand_and_history_names_the_person_and_the_reason(served: Settings) -> None:
    assert champion(served) == "1"
    result = run_command(served, "promote", "2", *AUTHOR)
    assert result.output == "version 2 (popularity) is champion instead of version 1; the next night scores with it.\n"
    assert champion(served) == "2"
    assert isinstance(run_command(served, "promote", "2", *AUTHOR).exception, RegistryError)
    assert isinstance(run_command(served, "promote", "9", *AUTHOR).exception, RegistryError)

    result = run_command(served, "demote", "--by", "bob", "--why", "complaints")
    assert result.output.startswith("version 1 (popularity) is champion instead of version 2")
    assert champion(served) == "1"
    error = run_command(served, "demote", *AUTHOR).exception
    assert "no earlier champion" in str(error)

    rows = json.loads(run_command(served, "history", "--json").output)
    assert [(row["action"], row["version"], row["previous_version"], row["by"]) for row in rows] == [
        ("promoted", "1", None, "gate 2"),
        ("promoted", "2", "1", "ann"),
        ("demoted", "1", "2", "bob"),
    ]
    assert rows[0]["why"].startswith("not_below_popularity: ndcg@10 1.0000")
    table = run_command(served, "history").output
    assert "the [new] one looks odd" in table
    assert "alias" not in table

    model_gate.main(night_of(served, override=None))  # the same night again: a demoted version is no challenger
    assert champion(served) == "1"
    registration.set_alias(served, registry.CHAMPION, "2")
    assert "alias `champion` is at version 2" in run_command(served, "history").output


def test_the_commands_of_the_page_do_what_it_describes(served: Settings) -> None:
    commands = [shlex.split(line) for line in re.findall(r"^\./run (.+)$", PAGE, re.MULTILINE)]
    assert [words[:2] for words in commands[1:]] == [["model", "history"], ["model", "promote"], ["model", "demote"]]
    for words in commands:
        result = CliRunner().invoke(nightloom, ["--config", str(served.file), *words])
        assert result.exit_code == 0, (words, result.output, result.exception)
    assert "Ann Lee" in run_command(served, "history").output
    assert champion(served) == "1"


@pytest.mark.parametrize("left_out", ["--by", "--why"])
def test_a_promotion_needs_a_name_and_a_reason(served: Settings, left_out: str) -> None:
    options = {"--by": "ann", "--why": "because"}
    words = [word for option, value in options.items() if option != left_out for word in (option, value)]
    result = run_command(served, "promote", "2", *words)
    assert result.exit_code == 2
    assert left_out in result.output
    assert champion(served) == "1"


def test_a_promotion_interrupted_before_the_alias_moved_can_be_repeated(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registration, "set_alias", interrupted)
        with pytest.raises(KeyboardInterrupt):
            champions.promote(served, "2", by="ann", why="x", run_id="r")
    assert "is at version 1" in run_command(served, "history").output
    champions.promote(served, "2", by="ann", why="x", run_id="r")
    assert champion(served) == "2"
    champions.demote(served, by="ann", why="x", run_id="r")
    assert champion(served) == "1"
    assert len(night_of(served).lake.rows(CHAMPIONS)) == 4


def changed(action: str, version: str, before: str | None) -> Row:
    return {"action": action, "version": version, "previous_version": before}


def test_one_demotion_after_another_goes_further_back() -> None:
    rows = [changed("promoted", "1", None), changed("promoted", "2", "1"), changed("promoted", "3", "2")]
    assert promoted_versions(rows) == ["1", "2", "3"]
    rows.append(changed("demoted", "2", "3"))
    assert (promoted_versions(rows), demoted_versions(rows)) == (["1", "2"], {"3"})
    rows.append(changed("demoted", "1", "2"))
    assert (promoted_versions(rows), demoted_versions(rows)) == (["1"], {"2", "3"})
    rows.append(changed("promoted", "3", "1"))  # promoted again
    assert (promoted_versions(rows), demoted_versions(rows)) == (["1", "3"], {"2"})


def test_without_mlflow_a_promotion_says_where_to_run_it(project: MakeProject) -> None:
    settings = project(["popularity"], [event("ann", "x", 5)])
    without = "import sys; sys.modules['mlflow'] = None; from nightloom.cli import main; main()"
    command = [sys.executable, "-c", without, "--config", str(settings.file), "model", "promote", "2", *AUTHOR]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MLflow is not installed here" in done.stderr
    assert "Traceback" not in done.stderr
