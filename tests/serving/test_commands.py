"""commands.py: what a person at a terminal sees of the published lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from nightloom.errors import StoreError
from serving import commands

if TYPE_CHECKING:
    from tests.serving.conftest import Project


@pytest.fixture(autouse=True)
def published(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(project.root / "nightloom.toml"))
    project.planted().judge()
    project.publish()


def said(*words: str) -> str:
    command = {"recommend": commands.recommend, "explain": commands.explain}[words[0]]
    return CliRunner().invoke(command, words[1:], catch_exceptions=False).output


def test_recommend_prints_ranks_titles_and_scores(project: Project) -> None:
    lines = said("recommend", "u1", "--k", "2").splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["1", "Film", '"3"', "<é>", "3", "9.5000"], ["2", "Film", '"4"', "<é>", "4", "8.5000"],
    ]  # fmt: skip
    assert lines[-1] == "v000001, night of 1998-04-21, model version 7, scored 1998-04-21T12:00:05Z"


def test_recommend_says_that_an_unknown_user_gets_the_popular_list() -> None:
    assert "User 999 has no list of their own: this is the popular list." in said("recommend", "999")
    assert json.loads(said("recommend", "999", "--json"))["source"] == "popular"


def test_explain_walks_to_push_gates_tables_and_stages() -> None:
    text = said("explain", "999", "--item", "2")
    assert "push    v000001 CURRENT, night of 1998-04-21" in text
    assert "gates   slate open (1998-04-21)" in text
    assert "gold.recommendations v2" in text
    assert "serving.slate_gate: gold.recommendations@2" in text
    assert json.loads(said("explain", "999", "--item", "2", "--json"))["gates"]["slate"]["state"] == "open"


def test_without_a_publish_the_error_says_what_to_do(project: Project) -> None:
    project.store.rename(project.root / "away")
    with pytest.raises(StoreError, match="nothing is published yet; run a night first"):
        said("recommend", "u1")
