"""commands.py: the published lists at a terminal."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from nightloom.errors import StoreError
from serving import commands, publish_commands

if TYPE_CHECKING:
    from tests.serving.conftest import Project

NEXT = date(1998, 4, 22)


@pytest.fixture(autouse=True)
def published(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(project.root / "nightloom.toml"))
    project.plant_all().judge()
    project.publish()


def run(*words: str) -> str:
    command = {
        "recommend": commands.recommend, "explain": commands.explain, "publish": publish_commands.publish,
        "store": publish_commands.store,
    }[words[0]]  # fmt: skip
    return CliRunner().invoke(command, words[1:], catch_exceptions=False).output


def test_recommend_prints_ranks_titles_and_scores(project: Project) -> None:
    lines = run("recommend", "u1", "--k", "2").splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["1", "Film", '"3"', "<é>", "3", "9.5000"], ["2", "Film", '"4"', "<é>", "4", "8.5000"],
    ]  # fmt: skip
    assert lines[-1] == "v000001, night of 1998-04-21, model version 7, scored 1998-04-21T12:00:05Z"


def test_recommend_says_that_an_unknown_user_gets_the_popular_list() -> None:
    assert "User 999 has no list of their own: this is the popular list." in run("recommend", "999")
    assert json.loads(run("recommend", "999", "--json"))["source"] == "popular"


def test_explain_walks_to_push_gates_tables_and_stages() -> None:
    text = run("explain", "999", "--item", "2")
    assert "push    v000001 CURRENT, night of 1998-04-21" in text
    assert "gates   slate open (1998-04-21)" in text
    assert "gold.recommendations v2" in text
    assert "serving.slate_gate: gold.recommendations@2" in text
    assert json.loads(run("explain", "999", "--item", "2", "--json"))["gates"]["slate"]["state"] == "open"


def test_without_a_publish_the_error_says_what_to_do(project: Project) -> None:
    project.settings.place("store").rename(project.root / "away")
    with pytest.raises(StoreError, match="nothing is published yet; run a night first"):
        run("recommend", "u1")


def test_publish_lists_rolls_back_pins_and_unpins(project: Project) -> None:
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, lists={"u1": ["9", "10", "11", "12"]})
    project.judge(NEXT)
    project.publish(NEXT)
    assert run("publish", "rollback", "ann: wrong prices") == "v000002 is ROLLED_BACK; v000001 is served.\n"
    text = run("publish", "list")
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("v0")] == [
        ["v000002", "ROLLED_BACK", "1998-04-22"], ["v000001", "CURRENT", "1998-04-21"],
    ]  # fmt: skip
    assert "ann: wrong" in text
    with pytest.raises(StoreError, match="v000002 was rolled back"):
        run("publish", "pin", "2", "bob: look")
    assert "v000002 is served" in run("publish", "pin", "v000002", "bob: look", "--override", "bob: it was right")
    assert run("publish", "list").endswith("Pinned: v000002 bob: look\n")
    assert [push["state"] for push in json.loads(run("publish", "list", "--json"))] == ["CURRENT", "BACKUP"]
    run("publish", "unpin")
    with pytest.raises(StoreError, match="'two' is no version"):
        run("publish", "pin", "two", "bob: look")


def test_store_size_says_what_each_kind_of_store_would_take() -> None:
    text = run("store", "size")
    assert text.startswith("Night of 1998-04-21: 8 users, 12 items, 2 popular, 2 similar")
    assert all(kind in text for kind in ("lmdb (this one)", "files", "redis-cluster", "postgresql"))
    assert "1 versions take 0.000 GB" in text
