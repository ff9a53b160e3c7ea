"""Two nights of a small shop, from silver to the API: a first night always publishes, and no user stops one."""

import asyncio
import shutil
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyspark.sql import SparkSession
from starlette.applications import Starlette

from models import registry
from nightloom import settings as settings_module
from nightloom.contracts import GATES, INTERACTIONS, ITEMS
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.night.stages import Stage
from nightloom.night.status import last_nights
from nightloom.places import folder_of
from serving import api, publish, report, slate_gate
from serving.explain import NOTHING_LEFT, Explanation, build_explanation
from serving.night_status import served_nights
from serving.stores import open_store, versions
from spark_jobs import (
    gold_histories,
    gold_item_days,
    gold_item_stats,
    gold_popular,
    gold_recommendations,
    gold_similar_items,
    marts,
)  # fmt: skip
from spark_jobs.context import SparkNight
from tests.spark_jobs.small_project import EVENTS_ONLY, NOON, D, Project, project
from training import model_gate, train

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
MORE = """
[[models]]
name = "als"

[store]
kind = "files"
"""
"""Files, since a process may have a version of an LMDB store open only once, and here it is reader and writer."""
Like = tuple[str, str, int]
"""User, item, days before D."""
NEXT = D + timedelta(days=1)


class Shop:
    """A project whose nights begin after silver."""

    def __init__(self, at: Project) -> None:
        self.at, self.lake = at, at.night().lake
        self.lake.create(ITEMS)

    def likes(self, likes: Iterable[Like]) -> None:
        rows = []
        for user, item, days in likes:
            key, at = f"{user}-{item}", NOON - timedelta(days=days)
            fixed = {"event": "rating", "value": 5.0, "weight": 1.0, "rescued": None, "night": D}
            rows.append(fixed | {"event_id": key, "row_id": key, "user_id": user, "item_id": item, "occurred_at": at})
        self.lake.append(INTERACTIONS, rows)

    def night(self, day: date = D) -> None:
        """The night's stages, in the order of the DAG, as commands in this process."""
        for stage, body in (
            (stages.HISTORIES, gold_histories.main), (stages.ITEM_DAYS, gold_item_days.main),
            (stages.ITEM_STATS, gold_item_stats.main), (stages.POPULAR, gold_popular.main),
        ):  # fmt: skip
            self.run(stage, body, day)
        if registry.champion(self.at.settings) is None:
            self.run(stages.TRAIN, train.main, day, **train.OPTIONS)
            self.run(stages.MODEL_GATE, model_gate.main, day)
        for stage, body in (
            (stages.RECOMMENDATIONS, gold_recommendations.main), (stages.SIMILAR_ITEMS, gold_similar_items.main),
            (stages.SLATE_GATE, slate_gate.main), (stages.PUBLISH, publish.main), (stages.REPORT, report.main),
        ):  # fmt: skip
            self.run(stage, body, day, **({"--force-older": {}} if stage == stages.PUBLISH else {}))

    def run(self, stage: Stage, body: Callable[[Any], None], day: date, **options: dict[str, Any]) -> None:
        def context(**fields: Any) -> SparkNight:
            night = SparkNight(**fields)
            night.__dict__["spark"] = self.at.spark
            return night

        argv = ["--date", str(day), "--config", str(self.at.settings.file)]
        run_stage(stage, body, context=context, options=options, argv=argv)

    @cached_property
    def app(self) -> Starlette:
        """The API, one for both nights."""
        return api.create_app(self.at.settings)

    def get(self, *paths: str) -> list[Any]:
        """The answers of the API."""

        async def ask() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return [await client.get(path) for path in paths]

        answers = asyncio.run(ask())
        assert [answer.status_code for answer in answers] == [200] * len(paths)
        return [answer.json() if "json" in answer.headers["content-type"] else answer.text for answer in answers]

    def explain(self, user: str, item: str) -> Explanation:
        return build_explanation(self.at.settings, self.app.state.lists.reader, user, item)

    def warnings(self, gate: str) -> dict[str, tuple[str, str]]:
        """The checks of a gate's last run that failed -> what was found and expected; none of them closed it."""
        rows = self.lake.rows(GATES, f"gate = '{gate}' ORDER BY checked_at").to_pylist()
        failed = [row for row in rows if row["checked_at"] == rows[-1]["checked_at"] and not row["passed"]]
        assert {row["severity"] for row in failed} <= {"warn"}
        return {row["check"]: (row["observed"], row["expected"]) for row in failed}


@pytest.fixture(scope="module")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: creating one takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "nightloom.toml"
    file.write_text(EVENTS_ONLY)
    settings = settings_module.load(file)
    registry.client(settings).search_experiments()
    return folder_of(settings.place("home")) / "mlflow.db"


@pytest.fixture(scope="module")
def shop(quick: None, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Shop:
    """A shop with one user, who has liked nothing new in the last 14 days. D itself has no event at all."""
    shop = Shop(project(tmp_path_factory.mktemp("shop"), spark, EVENTS_ONLY + MORE))
    home = folder_of(shop.at.settings.place("home"))
    home.mkdir(exist_ok=True)
    shutil.copy(mlflow_database, home / "mlflow.db")
    shop.likes([("anna", "i0", 40), ("anna", "i1", 20)])
    shop.night(D)
    return shop


@pytest.fixture(scope="module")
def tiny_shop(
    quick: None, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path
) -> Shop:
    """One user, three items, one day, no item liked a second time."""
    shop = Shop(project(tmp_path_factory.mktemp("tiny"), spark, EVENTS_ONLY + MORE))
    home = folder_of(shop.at.settings.place("home"))
    home.mkdir(exist_ok=True)
    shutil.copy(mlflow_database, home / "mlflow.db")
    shop.likes([("anna", f"i{n}", 0) for n in range(3)])
    shop.night(D)
    return shop


def items(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_first_night_without_a_model_publishes_the_popular_lists_and_every_page_says_so(shop: Shop) -> None:
    found, expected = shop.warnings("model")["champion"]
    assert found == "no model is champion, so this night publishes the popular lists alone"
    assert "1 user or more who liked something new in the last 14 days" in expected
    assert "gates.model.mode = 'disabled'" in expected
    assert shop.warnings("slate")["lists"][0] == "no model is champion: popular lists alone"
    paths = (
        "/v1/users/anna/recommendations",
        "/v1/items/i1/similar",
        "/v1/status",
        "/console",
        f"/console/reports/{D}",
    )
    answer, similar, status, home, page = shop.get(*paths)
    assert (answer["source"], answer["model_version"], items(answer)) == ("popular", "none", ["i1", "i0"])
    assert (similar["source"], items(similar)) == ("popular", ["i0"])
    assert (status["model_version"], status["counts"]["users"]) == ("none", 0)
    assert "Everybody gets the popular list." in home
    assert "v000001 serves the popular lists of the night of 2024-03-01 alone: no model is champion yet" in page
    why = shop.explain("anna", "i1")
    assert (why.source, why.model) == ("popular", "none is champion yet")
    served = served_nights(versions.list_pushes(open_store(shop.at.settings)))
    (night,) = last_nights(shop.lake, 1, served)
    assert (night.status, night.model_version, night.published_version) == ("published", None, "1")
    shop.run(stages.MARTS, marts.main, D, **{"--all": {"action": "store_true"}})


def test_the_next_night_has_a_champion_and_a_user_who_has_seen_every_item_stops_nobody(shop: Shop) -> None:
    bot = [("bot", f"i{n}", 24) for n in range(8)]
    others = [(f"u{user}", f"i{(user + step) % 8}", 24 - 12 * step) for user in range(12) for step in range(3)]
    shop.likes([*bot, *others])
    shop.night(NEXT)
    assert "champion" not in shop.warnings("model")
    assert shop.warnings("slate") == {
        "empty_lists": ("0.0714 (1 of 14 lists; these users get the popular list)", "at most 0.05")
    }
    paths = ("/v1/users/bot/recommendations", "/v1/users/u0/recommendations", "/v1/status", "/console/users?id=bot")
    of_bot, of_u0, status, page = shop.get(*paths)
    assert (of_bot["source"], sorted(items(of_bot))) == ("popular", [f"i{n}" for n in range(8)])
    assert (of_u0["source"], sorted(items(of_u0))) == ("personal", ["i3", "i4", "i5", "i6", "i7"])
    assert status["counts"]["users"] == 14
    assert "No item is left for this user" in page
    assert shop.explain("bot", "i3").uncaused == NOTHING_LEFT


def test_a_catalogue_that_shrinks_leaves_the_items_that_are_left_in_every_list(shop: Shop) -> None:
    gone = [f"i{n}" for n in range(6)]
    fixed = {"categories": [], "attributes": [], "available": False, "versions": None, "night": NEXT}
    rows = [{"item_id": item, "title": item, "updated_at": NOON, "row_id": item} for item in gone]
    shop.lake.append(ITEMS, [row | fixed for row in rows])
    shop.night(NEXT + timedelta(days=1))
    of_bot, of_u0, similar = shop.get(
        "/v1/users/bot/recommendations", "/v1/users/u0/recommendations", "/v1/items/i6/similar"
    )
    assert sorted(items(of_bot)) == sorted(items(of_u0)) == ["i6", "i7"]
    assert items(similar) == ["i7"]


def test_one_user_three_items_and_one_day_are_enough_for_lists(tiny_shop: Shop) -> None:
    known, unknown, similar = tiny_shop.get(
        "/v1/users/anna/recommendations", "/v1/users/nobody/recommendations", "/v1/items/i1/similar"
    )
    assert sorted(items(known)) == sorted(items(unknown)) == ["i0", "i1", "i2"]
    assert sorted(items(similar)) == ["i0", "i2"]
    assert tiny_shop.warnings("model")["champion"][0].startswith("no model is champion")
