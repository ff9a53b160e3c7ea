"""Users with attributes and no history yet: a model that uses attributes has a list for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import USERS
from tests.spark_jobs.conftest import interpreted
from tests.spark_jobs.scoring_lake import ScoringLake, after
from tests.spark_jobs.small_project import EVENTS_ONLY, NOON, D, project

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
MODELS = """
[[models]]
name = "segments"
params = { prior = 1.0 }

[slate]
k = 1
stored = 2
"""
KNOWN = [f"i{n}" for n in range(6)]


def member(user: str, city: str) -> dict[str, Any]:
    return {"user_id": user, "attributes": [("city", city)], "updated_at": NOON, "row_id": "r", "night": D}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringLake]:
    """Ten users of Ulm like the first items, ten of Jena the last; two are described and did nothing yet."""
    with interpreted(spark):
        shop = ScoringLake(project(tmp_path_factory.mktemp("shop") / "at", spark, EVENTS_ONLY + MODELS))
        shop.catalogue(*KNOWN)
        cities = {f"u{n:02}": ("Ulm", "Jena")[n % 2] for n in range(20)}
        for n, (user, city) in enumerate(cities.items()):
            shop.likes(*((user, item) for item in (KNOWN[:3] if city == "Ulm" else KNOWN[3:])[: 1 + n // 7]))
        strangers = {"ulm": "Ulm", "jena": "Jena"}
        shop.lake.append(USERS, [member(user, city) for user, city in (cities | strangers).items()])
        shop.champion("segments", "1")
        assert shop.score(D) == "everybody: no night before it has lists"
        yield shop


def test_who_did_nothing_yet_gets_what_their_segment_likes(shop: ScoringLake) -> None:
    assert len(shop.lists(D)) == 22
    assert shop.lists(D)["ulm"][0] == ["i0", "i1"]
    assert shop.lists(D)["jena"][0] == ["i3", "i4"]


def test_who_registers_is_scored_and_nobody_else(shop: ScoringLake, tmp_path: Path) -> None:
    shop.lake.append(USERS, [member("newcomer", "Jena")])
    assert shop.score(after(1)) == f"1 users changed since {D}"
    assert shop.scored(after(1)) == {"newcomer"}
    assert shop.lists(after(1)) == shop.of_everybody(after(1), tmp_path)
    assert shop.lists(after(1))["newcomer"][0] == ["i3", "i4"]


def test_who_moves_gets_another_list(shop: ScoringLake, tmp_path: Path) -> None:
    shop.lake.update(USERS, [member("newcomer", "Ulm")])
    assert shop.score(after(2)) == f"1 users changed since {after(1)}"
    assert shop.lists(after(2))["newcomer"][0] == ["i0", "i1"]
    assert shop.lists(after(2)) == shop.of_everybody(after(2), tmp_path)


def test_a_first_like_is_not_listed_again(shop: ScoringLake, tmp_path: Path) -> None:
    shop.likes(("newcomer", "i0"), at=NOON + timedelta(days=3))
    assert shop.score(after(3)) == f"1 users changed since {after(2)}"
    assert "i0" not in shop.lists(after(3))["newcomer"][0]
    assert shop.lists(after(3)) == shop.of_everybody(after(3), tmp_path)


def test_an_item_that_is_hidden_goes_from_their_lists_too(shop: ScoringLake, tmp_path: Path) -> None:
    shop.available("i3", yes=False)
    shop.score(after(4))
    assert shop.lists(after(4))["jena"][0] == ["i4", "i5"]
    assert shop.lists(after(4)) == shop.of_everybody(after(4), tmp_path)


def test_who_is_described_no_more_and_did_nothing_has_no_list(shop: ScoringLake) -> None:
    shop.lake.open(USERS).delete("user_id = 'ulm'")
    assert shop.score(after(5)) == "everybody: a user has no history or description any more"
    assert "ulm" not in shop.lists(after(5))
    assert "jena" in shop.lists(after(5))


def test_a_quiet_night_has_one_row_be_it_of_somebody_who_did_nothing(shop: ScoringLake) -> None:
    assert shop.score(after(6)) == f"nobody changed since {after(5)}"
    assert len(shop.scored(after(6))) == 1
    assert shop.lists(after(6)) == shop.lists(after(5))


def test_a_model_that_takes_no_words_has_no_list_for_them(shop: ScoringLake) -> None:
    shop.champion("popularity", "2")
    assert shop.score(after(7)).startswith("everybody: the model")
    assert {"jena", "ulm"} & shop.lists(after(7)).keys() == set()
    assert len(shop.lists(after(7))) == 21
