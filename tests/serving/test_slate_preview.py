"""slate_preview.py, `nightloom slate preview`: a list before and after the rules, by a champion that MLflow holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from models import registry
from nightloom.night import stages
from nightloom.night.run import run_stage
from serving import slate_commands
from tests.serving.conftest import ITEM_IDS, D
from training import registration, train

if TYPE_CHECKING:
    from tests.serving.conftest import Project

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
RULES = """
[[slate.filters]]
name = "no_four"
when = "item_id <> '4'"

[[slate.pins]]
name = "hero"
item = "12"
place = 2
"""


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(slate_commands.slate, ["preview", *words])
    return done.exit_code, done.output if done.exception is None or done.exit_code == 0 else str(done.exception)


@pytest.fixture
def champion(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Popularity: item 1 is liked by eleven, 2 by ten, ..., 11 by one, 12 by one."""
    config = project.root / "nightloom.toml"
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(config))
    project.plant_items()
    likes = {f"u{number}": ITEM_IDS[:number] for number in range(1, 12)}
    project.plant_histories(likes=likes | {"old": ["12"]})
    argv = ["--date", "1998-05-21", "--config", str(config)]
    run_stage(stages.TRAIN, train.main, options=train.OPTIONS, argv=argv)
    registration.set_alias(project.settings, registry.CHAMPION, "1")
    config.write_text(config.read_text().replace("[store]", RULES + "\n[store]"))
    return project


def test_a_preview_shows_both_lists_and_which_rule_moved_what(champion: Project) -> None:
    code, text = run("u2", "--json")
    made = json.loads(text)
    assert code == 0
    assert [line["item_id"] for line in made["before"]] == ["3", "4", "5"]
    assert [(line["item_id"], line["rule"]) for line in made["after"]] == [("3", None), ("12", "hero"), ("5", None)]
    assert [(step["rule"], step["kind"], step["items"]) for step in made["steps"]] == [
        ("no_four", "filter", 11), ("hero", "pin", 1),
    ]  # fmt: skip
    assert [(step["brought"], step["took"]) for step in made["steps"]] == [
        (['Film "6" <é>'], ['Film "4" <é>']), (['Film "12" <é>'], ['Film "6" <é>']),
    ]  # fmt: skip
    assert (made["user"], made["night"], made["model"]) == ("u2", str(D), "popularity version 1")
    code, text = run("u2")
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert lines[1][:3] == ["rank", "by", "score"]
    assert lines[3][-1] == "hero"
    assert "night of 1998-04-21, popularity version 1; nothing was published" in text


def test_without_rules_both_lists_are_the_same(champion: Project) -> None:
    config = champion.root / "nightloom.toml"
    config.write_text(config.read_text().replace(RULES, ""))
    made = json.loads(run("u2", "--json")[1])
    assert made["before"] == made["after"]
    assert "nightloom.toml has no slate rules" in run("u2")[1]


def test_a_user_without_a_history_is_told(champion: Project) -> None:
    assert run("nobody") == (1, "user nobody has no interaction up to 1998-04-21; such a reader gets the popular list")
