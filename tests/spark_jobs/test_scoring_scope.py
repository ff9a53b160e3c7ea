"""A night that scores only users who changed gives the same lists as a night that scores everybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from models import registry
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, RECOMMENDATIONS, SIMILAR_ITEMS
from nightloom.lake.described_items import compile_slate
from nightloom.lake.recommendations import logical_rows
from nightloom.sql.query import Catalog, run_query
from serving.history import read_profile
from serving.replay import replay_list
from spark_jobs import gold_similar_items, scoring_scope
from tests.spark_jobs.conftest import interpreted
from tests.spark_jobs.scoring_lake import ScoringLake, after
from tests.spark_jobs.small_project import EVENTS_ONLY, NOON, D, project

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
MODELS = """
[[models]]
name = "als"
params = { factors = 4, sweeps = 3, popularity = 0.0 }

[slate]
k = 1
stored = 2
"""
USERS = [f"u{n}" for n in range(12)]
KNOWN = [f"i{n}" for n in range(9)]


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringLake]:
    """Twelve users, nine items, and the lists of D; user n likes items n, n + 1 and n + 3, modulo 9."""
    with interpreted(spark):
        shop = ScoringLake(project(tmp_path_factory.mktemp("shop") / "at", spark, EVENTS_ONLY + MODELS))
        shop.catalogue(*KNOWN)
        shop.likes(*((user, KNOWN[(n + step) % 9]) for n, user in enumerate(USERS) for step in (0, 1, 3)))
        shop.likes(("late", "i1"), at=NOON + timedelta(days=5))
        shop.champion("als", "1")
        assert shop.score(D) == "everybody: no night before it has lists"
        yield shop


def test_only_users_with_new_events_are_scored_and_the_night_has_every_list(
    shop: ScoringLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.likes(("u1", "i7"), ("new", "i2"), at=NOON + timedelta(days=1))
    twin = shop.twin(tmp_path / "many")
    assert shop.score(after(1)) == "2 users changed since 2024-03-01"
    monkeypatch.setattr(scoring_scope, "FEW_USERS", 0)  # Spark scores them
    assert twin.score(after(1)) == "2 users changed since 2024-03-01"
    assert twin.lists(after(1)) == shop.lists(after(1))
    assert shop.scored(after(1)) == {"u1", "new"}
    assert shop.lists(after(1)) == shop.of_everybody(after(1), tmp_path)
    assert shop.lists(after(1))["u1"] != shop.lists(D)["u1"]
    assert "new" not in shop.lists(D)
    assert shop.score(after(1)) == "settled"


def test_similar_items_are_written_once_for_a_model_and_a_catalogue(shop: ScoringLake) -> None:
    shop.at.run(gold_similar_items.main)
    rows, version = shop.at.rows(SIMILAR_ITEMS), shop.lake.version(SIMILAR_ITEMS)
    assert {row["item_id"] for row in rows} == set(KNOWN)
    assert all(len(row["items"]) == 2 and row["item_id"] not in row["items"] for row in rows)
    assert {(row["night"], row["model_version"]) for row in rows} == {(D, "1")}
    shop.at.run(gold_similar_items.main)
    assert shop.lake.version(SIMILAR_ITEMS) == version


def test_similar_items_of_the_night_before_stay_unless_an_item_is_hidden(
    shop: ScoringLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin, computed = shop.twin(tmp_path / "twin"), list[list[int]]()
    similar = gold_similar_items.similar

    def counted(model: Any, allowed_I: Any, owners_N: Any, k: int) -> Any:
        computed.append(owners_N.tolist())
        return similar(model, allowed_I, owners_N, k)

    monkeypatch.setattr(gold_similar_items, "similar", counted)
    hidden = lists_of(twin, D)[KNOWN[0]][0]
    for day in (1, 2):
        twin.catalogue(f"new{day}")
        if day == 2:
            twin.available(hidden, yes=False)
        twin.at.run(gold_similar_items.main, day=after(day))
    lists = {day: lists_of(twin, after(day)) for day in (0, 1, 2)}
    holders = [number for number, item in enumerate(KNOWN) if hidden in lists[1][item]]
    assert computed == [[], holders]
    assert 0 < len(holders) < len(KNOWN)
    assert lists[0] == lists[1]
    monkeypatch.setattr(gold_similar_items, "newest_commit", lambda *given: None)
    twin.at.run(gold_similar_items.main, day=after(3))
    assert computed[2] == list(range(len(KNOWN)))
    assert lists_of(twin, after(3)) == lists[2]


def lists_of(lake: ScoringLake, day: date) -> dict[str, list[str]]:
    rows = lake.lake.rows(SIMILAR_ITEMS, f"night = DATE '{day}'", ["item_id", "items"])
    return {row["item_id"]: row["items"] for row in rows.to_pylist()}


def test_users_with_a_newly_hidden_item_are_scored_and_others_keep_their_list(
    shop: ScoringLake, tmp_path: Path
) -> None:
    listed = {item: {user for user, (items, _, _) in shop.lists(after(1)).items() if item in items} for item in KNOWN}
    shop.rare, holders = min(((item, users) for item, users in listed.items() if users), key=lambda each: len(each[1]))
    assert len(holders) < 5
    shop.available(shop.rare, yes=False)
    assert shop.score(after(2)) == f"{len(holders):,} users changed since {after(1)}"
    assert shop.scored(after(2)) == holders | {
        "u1",
        "new",
    }  # these differ from the full night's, as the night before
    assert shop.lists(after(2)) == shop.of_everybody(after(2), tmp_path)
    assert all(shop.rare not in items for items, _, _ in shop.lists(after(2)).values())


def test_a_night_without_events_is_in_the_table_anyway(shop: ScoringLake, tmp_path: Path) -> None:
    assert shop.score(after(3)) == f"0 users changed since {after(2)}"
    assert shop.scored(after(3)) == shop.scored(after(2))
    assert shop.lists(after(3)) == shop.lists(after(2)) == shop.of_everybody(after(3), tmp_path)


def test_an_item_that_is_available_again_could_be_in_any_list(shop: ScoringLake, tmp_path: Path) -> None:
    shop.available(shop.rare, yes=True)
    assert shop.score(after(4)) == f"everybody: 1 items are available again, {shop.rare} the first of them"
    assert shop.scored(after(4)) == set(shop.lists(after(4)))
    assert shop.lists(after(4)) == shop.of_everybody(after(4), tmp_path)


def test_an_event_counts_from_the_night_of_its_own_day(shop: ScoringLake, tmp_path: Path) -> None:
    assert "late" not in shop.lists(after(4))
    assert shop.score(after(5)) == f"1 users changed since {after(4)}"
    assert shop.scored(after(5)) == {"late"}
    assert shop.lists(after(5)) == shop.of_everybody(after(5), tmp_path)


def test_a_quiet_night_after_a_full_one_has_one_row(shop: ScoringLake, tmp_path: Path) -> None:
    full = ScoringLake(shop.at)
    assert full.score(after(6), full=True) == "everybody: --full"
    assert shop.score(after(7)) == f"nobody changed since {after(6)}"
    assert len(shop.scored(after(7))) == 1
    assert shop.lists(after(7)) == shop.lists(after(6)) == shop.of_everybody(after(7), tmp_path)


def test_a_full_refresh_that_later_nights_depend_on_may_be_rebuilt(shop: ScoringLake) -> None:
    before = shop.lists(after(7))
    shop.likes(("u2", "i8"), at=NOON + timedelta(days=6))
    assert shop.score(after(6), full=True) == "everybody: --full"
    assert shop.lists(after(6))["u2"] != before["u2"]
    assert shop.lists(after(7)) == before
    assert shop.scored(after(7)) == set(before)


def test_sql_by_the_tables_name_gives_every_list_of_every_night(shop: ScoringLake) -> None:
    answer = run_query(
        Catalog.from_settings(shop.at.settings), "SELECT night, count(*) FROM gold.recommendations GROUP BY ALL"
    )
    sizes = {night: len(shop.lists(night)) for night in map(after, range(8))}
    assert dict(answer.rows) == sizes
    shop.lake.open(RECOMMENDATIONS)
    frame = shop.at.spark.read.format("delta").load(shop.lake.path(RECOMMENDATIONS))
    frame.createOrReplaceTempView("raw")
    counted = shop.at.spark.sql(logical_rows(RECOMMENDATIONS, "raw")).groupBy("night").count().collect()
    assert {row["night"]: row["count"] for row in counted} == sizes


RULES = """
[[slate.filters]]
name = "no_four"
when = "item_id <> 'i4'"

[[slate.boosts]]
name = "young"
add = 0.5
since = "updated_at"
half_life_days = 3
"""


def test_a_new_or_hidden_item_leaves_other_lists_as_they_are(shop: ScoringLake, tmp_path: Path) -> None:
    with_rules = shop.twin(tmp_path / "with_rules", RULES[: RULES.index("[[slate.boosts]]")])
    with_rules.lake.append(ITEM_STATS, [stats(night) for night in (after(8), after(9), after(10))])
    assert with_rules.score(after(8)) == f"everybody: the settings changed since {after(7)}"
    with_rules.likes(("u5", "i0"), at=NOON + timedelta(days=9))
    with_rules.catalogue("i9")
    assert with_rules.score(after(9)) == f"1 users changed since {after(8)}"
    assert with_rules.lists(after(9)) == with_rules.of_everybody(after(9), tmp_path / "twin")
    assert all("i4" not in items for items, _, _ in with_rules.lists(after(9)).values())
    holders = {user for user, (items, _, _) in with_rules.lists(after(9)).items() if "i5" in items}
    with_rules.available("i5", yes=False)
    assert with_rules.score(after(10)) == f"{len(holders)} users changed since {after(9)}"
    assert with_rules.lists(after(10)) == with_rules.of_everybody(after(10), tmp_path / "next")


def test_a_list_that_is_replayed_for_one_user_is_the_one_that_spark_made(shop: ScoringLake, tmp_path: Path) -> None:
    with_rules = shop.twin(tmp_path / "with_rules", RULES)
    with_rules.lake.append(ITEM_STATS, [stats(after(8))])
    with_rules.score(after(8))
    stamp = json.loads(with_rules.lake.last_commit(RECOMMENDATIONS)["userMetadata"])
    reads, settings = stamp["reads"], with_rules.at.settings
    versions = reads[ITEMS.full_name], reads[ITEM_STATS.full_name]
    plan = compile_slate(with_rules.lake, settings, after(8), *versions)
    assert plan.digest == stamp["tags"]["rules"]
    lists, model = with_rules.lists(after(8)), registry.load_version(settings, "1")
    assert len(lists) > len(USERS)
    for user, (items, scores, _) in lists.items():
        replayed = replay_list(settings, model, plan, read_profile(with_rules.lake, user, str(after(8)), reads))
        assert replayed.items() == items
        assert replayed.scores() == pytest.approx(scores, abs=1e-6)


def test_a_rule_that_moves_with_the_date_is_another_one_each_night(shop: ScoringLake, tmp_path: Path) -> None:
    with_rules = shop.twin(tmp_path / "with_rules", RULES)
    with_rules.lake.append(ITEM_STATS, [stats(night) for night in (after(8), after(9))])
    with_rules.score(after(8))
    differently = "9 items that the model knows are treated differently by a rule, i0 the first of them"
    assert with_rules.score(after(9)) == f"everybody: {differently}"


def stats(night: date) -> dict[str, Any]:
    numbers = {"events_1d": 0, "events_7d": 0, "events_28d": 0, "events": 1, "popularity": 1.0}
    return numbers | {"night": night, "item_id": "i1", "first_at": NOON, "last_at": NOON}


def test_everybody_is_scored_where_the_changed_users_are_not_known(shop: ScoringLake, tmp_path: Path) -> None:
    assert shop.score(after(14)) == f"everybody: the last full refresh was on {after(7)}, 7 days ago or more"
    shop.lake.open(HISTORIES).delete("user_id = 'u3'")
    assert shop.score(after(15)) == "everybody: a user has no history any more"
    assert "u3" not in shop.lists(after(15))
    shop.likes(*((user, "i0") for user in USERS[4:]), at=NOON + timedelta(days=16))
    assert shop.score(after(16)).startswith("everybody: 8 users changed and 0 did before, of ")
    shop.champion("popularity", "2")
    assert shop.score(after(17)) == f"everybody: the model changed since {after(16)}"
    shop.lake.open(RECOMMENDATIONS).delete("user_id = 'u4'")
    assert shop.score(after(18)).startswith("everybody: the table's log does not say for certain")
    assert "u4" in shop.lists(after(18))
