"""explain.py: one served row walked back to push, gates, model, tables and events, with a model that MLflow holds."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from nightloom.errors import UnknownUserError
from nightloom.manifest import run_stage
from serving import commands
from serving.explain import explain
from serving.stores.reading import Reader
from training import train

if TYPE_CHECKING:
    from tests.serving.conftest import Project

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
    run_stage("training.train", train.main, options=train.OPTIONS, argv=argv)
    project.plant_lists(lists={"u0": ["3", "4", "5", "8"]}, only=["u0"], model_version="1")
    project.plant_lists(lists={user: ["11", "12"] for user in likes}, only=list(likes), model_version="1")
    project.plant_popular()
    project.judge(override="test: the lists are short")
    project.publish()


def test_a_row_is_walked_to_push_gates_model_tables_and_the_interactions_that_weigh_most(project: Project) -> None:
    trained_and_published(project)
    why = explain(project.settings, Reader(project.store), "u0", "3")
    assert (why.rank, why.length, why.source, why.model) == (1, 4, "personal", "als version 1")
    assert {cause.item_id for cause in why.causes[:2]} == {"1", "2"}
    assert why.causes[0].share > 0.4 > abs(why.causes[2].share)
    assert sum(cause.share for cause in why.causes if cause.share > 0) == pytest.approx(1)
    first = f'Film "{why.causes[0].item_id}" <é>'  # the two weigh the same but for a float's last digits
    assert (why.causes[0].title, why.causes[0].event, why.causes[0].at.date()) == (first, "rating", WINTER)
    assert [run.stage for run in why.stages] == ["training.train", "serving.slate_gate", "serving.publish"]
    assert why.tables.keys() >= {"silver.interactions", "gold.recommendations", "gold.histories", "silver.items"}
    assert (why.push.version, why.push.state, why.gates["slate"].state) == (1, "CURRENT", "overridden")
    text = commands.told(why)
    assert "als version 1" in text
    assert f"{first} (rating 5, 1998-01-10)" in text
    page = project.client().get("/explain?user=u0&item=3").text
    assert "als version 1" in page


def test_what_is_not_in_the_list_cannot_be_explained(project: Project) -> None:
    project.planted().judge()
    project.publish()
    with pytest.raises(UnknownUserError, match="item 1 is not in the personal list of user u1 in v000001"):
        explain(project.settings, Reader(project.store), "u1", "1")
