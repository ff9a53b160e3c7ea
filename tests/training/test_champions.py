"""Who is champion, by a person's word: promote, demote, history, and what a gate makes of it."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from models import registry
from models.registry import RegistryError
from nightloom.cli import nightloom
from nightloom.contracts import CHAMPIONS
from nightloom.settings import Settings
from tests.training.small import MakeProject, Row, Track, event, night_of
from training import champions, model_gate, registration, train
from training.champions import demoted_versions, promoted_versions

# Warnings are errors here, but MLflow's own are not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*")
    for kind in ("UserWarning", "DeprecationWarning", "FutureWarning")
]
PAGE = (Path(__file__).parents[2] / "docs" / "retraining.md").read_text(encoding="utf8")
SIGNED = ("--by", "ann", "--why", "the [new] one looks odd")


def said(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(nightloom, ["--config", str(settings.file), "model", *words])


def champion(settings: Settings) -> str | None:
    found = registry.champion(settings)
    return found.version if found else None


@pytest.fixture
def served(project: MakeProject, tracked: Track, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Version 1 is champion by the gate; version 2, which gained nothing, is there too."""
    monkeypatch.setenv("NIGHTLOOM_CONFIG", "")  # the command sets it; so it is put back afterwards
    settings = tracked(project(["popularity"], [event("ann", "x", 5), event("bob", "x", 1)]))
    for _ in range(2):
        train.main(night_of(settings, when="always", model=None))
        model_gate.main(night_of(settings, override=None))
    return settings


def test_a_person_promotes_and_demotes_and_history_says_who_and_why(served: Settings) -> None:
    assert champion(served) == "1"
    done = said(served, "promote", "2", *SIGNED)
    assert done.output == "version 2 (popularity) is champion instead of version 1; the next night scores with it.\n"
    assert champion(served) == "2"
    assert isinstance(said(served, "promote", "2", *SIGNED).exception, RegistryError)
    assert isinstance(said(served, "promote", "9", *SIGNED).exception, RegistryError)

    done = said(served, "demote", "--by", "bob", "--why", "complaints")
    assert done.output.startswith("version 1 (popularity) is champion instead of version 2")
    assert champion(served) == "1"
    nobody = said(served, "demote", *SIGNED).exception
    assert "no earlier champion" in str(nobody)

    rows = json.loads(said(served, "history", "--json").output)
    assert [(row["action"], row["version"], row["previous_version"], row["by"]) for row in rows] == [
        ("promoted", "1", None, "gate 2"),
        ("promoted", "2", "1", "ann"),
        ("demoted", "1", "2", "bob"),
    ]
    assert rows[0]["why"].startswith("not_below_popularity: ndcg@10 1.0000")
    table = said(served, "history").output
    assert "the [new] one looks odd" in table
    assert "alias" not in table

    model_gate.main(night_of(served, override=None))  # the same night again: what was taken back is no challenger
    assert champion(served) == "1"
    registration.set_alias(served, registry.CHAMPION, "2")
    assert "alias `champion` is at version 2" in said(served, "history").output


def test_the_commands_of_the_page_do_what_it_says(served: Settings) -> None:
    commands = [shlex.split(line) for line in re.findall(r"^\./run (.+)$", PAGE, re.MULTILINE)]
    assert [words[:2] for words in commands[1:]] == [["model", "history"], ["model", "promote"], ["model", "demote"]]
    for words in commands:
        done = CliRunner().invoke(nightloom, ["--config", str(served.file), *words])
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert "Ann Lee" in said(served, "history").output
    assert champion(served) == "1"


@pytest.mark.parametrize("left_out", ["--by", "--why"])
def test_no_champion_is_made_without_a_name_and_a_reason(served: Settings, left_out: str) -> None:
    given = {"--by": "ann", "--why": "because"}
    words = [word for option, value in given.items() if option != left_out for word in (option, value)]
    done = said(served, "promote", "2", *words)
    assert done.exit_code == 2
    assert left_out in done.output
    assert champion(served) == "1"


def test_a_promotion_that_died_before_the_alias_moved_is_made_good_by_the_next(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_alias", died)
        with pytest.raises(KeyboardInterrupt):
            champions.promote(served, "2", by="ann", why="x", run_id="r")
    assert "is at version 1" in said(served, "history").output
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
    rows.append(changed("promoted", "3", "1"))  # somebody thought again
    assert (promoted_versions(rows), demoted_versions(rows)) == (["1", "3"], {"2"})
