"""Live lists against a real night: events by the API, the next night's stages on what it wrote, the same lists."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nightloom.contracts import RECOMMENDATIONS
from nightloom.lake.recommendations import nightly_lists
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from serving import publish
from tests.nightloom import shop
from tests.nightloom.shop import GOLD, LAST, SILVER, TRAINING
from tests.serving.conftest import Client

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.first_night import Project

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NEXT = LAST + timedelta(days=1)
RULES = """
[[slate.filters]]
name = "no_even"
when = "NOT (item_id LIKE '%2')"

[[slate.caps]]
name = "three_of_a_genre"
by = "category"
at_most = 3

[slate.diversity]
relevance = 0.6
"""


def configure(project: Project) -> None:
    """ALS alone, rules, live lists, and a source that the API feeds."""
    file = project.settings.file
    text = file.read_text(encoding="utf8").replace('[[models]]\nname = "popularity"\n', "")
    text = text.replace('name = "clicks"', 'name = "clicks"\napi = true\nsettle_seconds = 0')
    file.write_text(f"{text}\n{RULES}\n[serving]\nlive = true\n", encoding="utf8")


def judge(night: Night) -> None:
    """Gate 3 without its checks: the lists of so small a shop are not the test's subject."""
    record_and_enforce(night, stages.SLATE_GATE, [Check("planted", True, "planted", "planted")])


def lists_of(project: Project, users: list[str]) -> dict[str, tuple[list[str], list[float]]]:
    night = Night(NEXT, project.settings, "test", "test")
    lake = night.lake
    rows = lake.query(nightly_lists(lake, NEXT), ("t", lake.open(RECOMMENDATIONS, lake.version(RECOMMENDATIONS))))
    return {row["user_id"]: (row["items"], row["scores"]) for row in rows.to_pylist() if row["user_id"] in users}


def test_a_live_list_is_the_list_of_the_next_night(spark: SparkSession, tmp_path: Path) -> None:
    project = shop.create(tmp_path / "shop")
    configure(project)
    push = {stages.SLATE_GATE: judge, stages.PUBLISH: publish.main}
    shop.night(project, spark, LAST, SILVER, GOLD, TRAINING, GOLD, push)
    client = Client(project.settings)
    client.app.state.live.load(client.app.state.lists.snapshots())
    lists = client.app.state.lists.snapshots()[0]
    known = [json.loads(value)["user"] for value in lists.values("users")][:4]
    users = [*known, "came today"]
    one, other = (lists.get("popular", "all") or {})["items"][:2]
    events = [act(user, number, item) for user in users for number, item in enumerate((one, other, one))]
    assert client.request("POST", "/v1/events", json=events).json() == {"accepted": len(events), "rejected": []}
    found: dict[str, Any] = {user: client.get(f"/v1/users/{user}/recommendations?k=20").json() for user in users}
    assert {answer["source"] for answer in found.values()} == {"live"}
    client.app.state.intake._export()
    shop.night(project, spark, NEXT, SILVER, GOLD, options=("--model", found["came today"]["model_version"]))
    expected = lists_of(project, users)
    for user in users:
        own = [item for item in found[user]["items"] if item.get("source", "live") == "live"]
        assert [item["item_id"] for item in own] == expected[user][0], user
        assert [item["score"] for item in own] == pytest.approx(expected[user][1], rel=1e-4), user


def act(user: str, number: int, item: str) -> dict[str, Any]:
    return {
        "event_id": f"{user}-{number}", "user_id": user, "item_id": item, "event": "rating", "value": 4.0,
        "at": f"{NEXT}T1{number}:00:00Z",
    }  # fmt: skip
