"""explain.py: one served row walked back to push, gates, model, tables and events, with a model that MLflow holds."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from models.base import Examples, Histories
from nightloom.errors import UnknownUserError
from nightloom.night import stages
from nightloom.night.run import run_stage
from serving import commands
from serving.contributions import AttributeEffect, attribute_effects, find_causes
from serving.explain import build_explanation
from serving.history import UserProfile, read_history
from serving.stores.reader import Reader
from tests.serving.conftest import CONFIG, D, Project
from training import train, trainers

WINTER = date(1998, 1, 10)
pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
TASTES = (["1", "2", "3", "4", "5"], ["6", "7", "8", "9", "10"])


def trained_and_published(project: Project) -> None:
    """Two tastes that share no item; ALS learns them, and u0 of the first taste is shown what is left of it."""
    config = project.root / "nightloom.toml"
    config.write_text(config.read_text().replace('name = "popularity"', 'name = "als"'))
    project.plant_items()
    likes = {
        f"{name}{number}": taste[:number] + taste[number + 1 :]
        for name, taste in zip("ab", TASTES, strict=True)
        for number in range(5)
    }
    project.plant_histories(likes={"u0": ["7", "1", "2"]} | likes, at=WINTER)
    argv = ["--date", "1998-04-21", "--config", str(config)]
    run_stage(stages.TRAIN, train.main, options=train.OPTIONS, argv=argv)
    project.plant_lists(lists={"u0": ["3", "4", "5", "8"]}, only=["u0"], model_version="1")
    project.plant_lists(lists={user: ["11", "12"] for user in likes}, only=list(likes), model_version="1")
    project.plant_popular()
    project.judge(override="test: the lists are short")
    project.publish()


def test_a_row_is_walked_to_push_gates_model_tables_and_the_interactions_that_weigh_most(project: Project) -> None:
    trained_and_published(project)
    why = build_explanation(project.settings, Reader(project.store), "u0", "3")
    assert (why.rank, why.length, why.source, why.model) == (1, 4, "personal", "als version 1")
    assert {cause.item_id for cause in why.causes[:2]} == {"1", "2"}
    assert why.causes[0].share > 0.4 > abs(why.causes[2].share)
    assert sum(cause.share for cause in why.causes if cause.share > 0) == pytest.approx(1)
    first = f'Film "{why.causes[0].item_id}" <é>'  # the two weigh the same but for a float's last digits
    assert (why.causes[0].title, why.causes[0].event, why.causes[0].at.date()) == (first, "rating", WINTER)
    assert [run.stage for run in why.stages] == ["training.train", "serving.slate_gate", "serving.publish"]
    assert why.tables.keys() >= {"silver.interactions", "gold.recommendations", "gold.histories", "silver.items"}
    assert (why.push.version, why.push.state, why.gates["slate"].state) == (1, "CURRENT", "overridden")
    assert (why.uncaused, why.scored, why.rules.known) == (None, None, False)
    text = commands.format_explanation(why)
    assert "no run of spark_jobs.gold_recommendations is recorded that made this list" in text
    assert "als version 1" in text
    assert f"{first} (rating 5, 1998-01-10)" in text
    assert b"als version 1" in project.client().explain("u0", "3", page=True).body


PARAMS: dict[str, dict[str, Any]] = {
    "als": {"factors": 2},
    "ease": {"regularisation": 1.0},
    "graph": {"sharpness": 0.3},
    "sequence": {"factors": 16, "epochs": 20, "batch": 20, "length": 8, "dropout": 0.0, "learning_rate": 0.01},
    "blend": {"members": "graph, item_to_item", "held_out_days": 0},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The reader u1 has liked 7, then 1 and 2."""
    project = Project(tmp_path_factory.mktemp("published"))
    (project.root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    project.plant_items()
    project.plant_histories(likes={"u1": ["7", "1", "2"]})
    project.plant_lists()
    project.judge(override="test: few have a history")
    project.publish()
    return project


@pytest.mark.parametrize("kind", PARAMS)
def test_by_each_kind_of_model_the_likes_of_the_items_own_taste_weigh_most(published: Project, kind: str) -> None:
    likes = [taste[:number] + taste[number + 1 :] for taste in TASTES for number in range(5) for _ in range(3)]
    ids = np.array(sorted(TASTES[0] + TASTES[1]))
    ones, times = [[1.0] * 4] * len(likes), [[0, 1, 2, 3]] * len(likes)
    examples = Examples(ids, Histories.from_lists(ids, likes, ones, times), cut=10, seed=3)
    model = trainers.fit(kind, examples, PARAMS[kind])
    history = read_history(published.night().lake, str(D), "u1")
    found = find_causes(published.night().lake, Reader(published.store).current(), model, history, "3")
    assert {cause.item_id for cause in found[:2]} == {"1", "2"}
    assert (found[2].item_id, found[2].title, found[2].event) == ("7", 'Film "7" <é>', "rating")
    assert found[1].share > 0.15 > found[2].share
    assert sum(cause.share for cause in found if cause.share > 0) == pytest.approx(1)


def test_an_item_that_the_model_does_not_know_has_no_causes(published: Project) -> None:
    ids = np.array(["1", "2"])
    examples = Examples(ids, Histories.from_lists(ids, [["1", "2"]], [[1.0, 1.0]], [[0, 1]]), cut=10, seed=3)
    model = trainers.fit("ease", examples, PARAMS["ease"])
    history = read_history(published.night().lake, str(D), "u1")
    assert find_causes(published.night().lake, Reader(published.store).current(), model, history, "3") == []


def test_an_item_outside_the_list_cannot_be_explained(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    with pytest.raises(UnknownUserError, match="item 1 is not in the personal list of user u1 in v000001"):
        build_explanation(project.settings, Reader(project.store), "u1", "1")


def members(events: list[dict[str, Any]], *words: str) -> UserProfile:
    return UserProfile("u1", events, list(words))


def test_each_attribute_that_moves_an_item_is_shown_with_the_rank_without_it(published: Project) -> None:
    ids = np.array(["1", "2", "3"])
    liked, words = [["1"]] * 9 + [["2"]] * 6 + [["3"]] * 5, [["sex=F"]] * 9 + [["sex=M", "city=Ulm"]] * 11
    ones, times = [[1.0]] * 20, [[0]] * 20
    examples = Examples(ids, Histories.from_lists(ids, liked, ones, times, words), cut=10, seed=3)
    model = trainers.fit("segments", examples, {"prior": 1})
    assert attribute_effects(model, members([], "sex=F"), "1") == []  # it is the first anyhow
    assert attribute_effects(model, members([], "sex=M", "eyes=blue"), "1") == [AttributeEffect("sex=M", 1, 3)]
    assert attribute_effects(model, members([], "sex=M"), "9") == []
    assert attribute_effects(model, members([]), "1") == []
    history = read_history(published.night().lake, str(D), "u1")
    assert {event["item_id"] for event in history} == {"7", "1", "2"}
    assert (
        attribute_effects(model, members(history, "sex=M"), "3") == []
    )  # the others are touched, and so it is the first
    popular = trainers.fit("popularity", examples, {})
    assert attribute_effects(popular, members([], "sex=M"), "1") == []
