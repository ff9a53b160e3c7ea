"""slate_scoring.py, slate_lists.py: lists by slate rules, made by Spark; the popular list by the same filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from models.base import Examples, Histories, no_report
from models.popularity import Popularity, PopularityParams
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, POPULAR, RECOMMENDATIONS, SLATE_RULES, USERS
from spark_jobs import gold_popular
from spark_jobs.gold_histories import histories_until
from spark_jobs.gold_recommendations import in_batches, with_attributes, with_generated_at
from spark_jobs.sent_model import SentModel
from spark_jobs.slate_lists import lists_by_rules, night_plan
from tests.spark_jobs.small_project import NOON, TOML, D, Project, project

KNOWN = "abcdefgh"
RULES = """
[slate]
k = 2
stored = 4

[[slate.filters]]
name = "new"
when = "year >= 2000"

[[slate.filters]]
name = "for_job"
item = "jobs"
user = "job"

[[slate.caps]]
name = "maker"
by = "maker"
at_most = 1

[[slate.pins]]
name = "hero"
item = "z"
place = 2
users = { job = "clerk" }
"""
ATTRIBUTES = TOML.replace(
    'attributes = { year = "year" }', 'attributes = { year = "year", maker = "title", jobs = "title" }'
)


def model(folder: Path) -> str:
    """Likes a 8 times, b 7 times, ..., h once."""
    likes = np.repeat(np.arange(8, dtype=np.int32), np.arange(8, 0, -1))
    n = len(likes)
    histories = Histories.from_events(1, np.zeros(n, np.int64), likes, np.ones(n, np.float32), np.zeros(n, np.int64))
    examples = Examples(np.array(list(KNOWN)), histories, cut=0, seed=0)
    Popularity.fit(examples, PopularityParams(), no_report).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Items a to h, a from 1990, b and c of one maker, d for clerks only; z is new to the model. Four users."""
    at = project(tmp_path_factory.mktemp("rules") / "shop", spark, ATTRIBUTES + RULES)
    lake, night = at.night().lake, at.night()
    fixed = {"categories": [], "available": True, "updated_at": NOON, "row_id": "r", "night": D}
    attributes: dict[str, dict[str, str]] = {
        "a": {"year": "1990"},
        "b": {"maker": "M"},
        "c": {"maker": "M"},
        "d": {"jobs": "clerk"},
    }
    items = [(item, {"year": "2010"} | attributes.get(item, {})) for item in f"{KNOWN}z"]
    lake.append(ITEMS, [fixed | {"item_id": i, "title": i, "attributes": list(what.items())} for i, what in items])
    numbers = {"events_1d": 0, "events_7d": 0, "events_28d": 0, "events": 1, "first_at": NOON, "last_at": NOON}
    stats = [numbers | {"night": D, "item_id": i, "popularity": 9.0 - n} for n, i in enumerate(f"{KNOWN}y")]
    lake.append(ITEM_STATS, stats)
    jobs = {"u1": "clerk", "u2": "smith"}
    people = {"updated_at": NOON, "row_id": "r", "night": D}
    lake.append(USERS, [people | {"user_id": user, "attributes": [("job", job)]} for user, job in jobs.items()])
    seen = {"u1": "h", "u2": "hb", "u3": "hz", "u4": "abcdefgh"}
    lake.append(HISTORIES, [_week(user, list(touched)) for user, touched in seen.items()])
    histories = in_batches(with_attributes(histories_until(night.frame(HISTORIES), night.end), night.frame(USERS)), 4)
    plan = night_plan(night)
    sent = SentModel(model(tmp_path_factory.mktemp("model")))
    with lists_by_rules(night, plan, "7", sent, histories) as lists:
        night.replace(RECOMMENDATIONS, with_generated_at(lists, NOON).withColumn("full_night", F.lit(D)))
    at.run(gold_popular.main)
    return at


def _week(user: str, items: list[str]) -> dict[str, Any]:
    n = len(items)
    named = {"week": HISTORIES.period_of(D), "user_id": user, "items": items, "at": [NOON] * n}
    return named | {"weights": [1.0] * n, "event_ids": [f"{user}{item}" for item in items]}


def test_spark_makes_the_lists_that_the_rules_say(made: Project) -> None:
    found = {row["user_id"]: "".join(row["items"]) for row in made.rows(RECOMMENDATIONS)}
    # by score u1 has abcd: without a, c waits for b's next page, and z is pinned for clerks at the second place
    assert found == {"u1": "bzcd", "u2": "cefg", "u3": "becf", "u4": ""}
    rows = made.rows(RECOMMENDATIONS)
    assert {row["model_version"] for row in rows} == {"7"}
    assert all(len(row["items"]) == len(row["scores"]) for row in rows)


def test_each_rule_is_counted_once_for_all_users(made: Project) -> None:
    rows = sorted(made.rows(SLATE_RULES), key=lambda row: row["place"])
    assert [(row["rule"], row["kind"], row["items"], row["users"], row["lists"]) for row in rows] == [
        ("new", "filter", 8, 4, 3), ("for_job", "filter", 1, 4, 2), ("maker", "cap", 9, 4, 2), ("hero", "pin", 1, 4, 1),
    ]  # fmt: skip
    assert all(row["relevance_lost"] >= 0 for row in rows)
    assert rows[0]["score_lost"] == 3 + 2 + 2  # u1 and u3 have b and c for a and b; u2 has c and d for a and c


def test_the_popular_list_holds_what_the_filters_leave_to_a_stranger(made: Project) -> None:
    (row,) = made.rows(POPULAR)
    assert "".join(row["items"]) == "bcef"  # no a, nothing for clerks
    night = made.night()
    plan = night_plan(night)
    assert "".join(np.array(list(KNOWN))[plan.visible_to_stranger(list(KNOWN), ("job=clerk",))]) == "bcdefgh"
