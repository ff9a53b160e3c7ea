"""How rebuilt nights differ from published ones, and which model a night had: on a manifest and lists written here."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightloom import settings as settings_module
from nightloom.contracts import POPULAR, RECOMMENDATIONS, REOPENINGS, STAGES
from nightloom.lake import Lake
from nightloom.local.backfill_comparison import Difference, compare
from nightloom.night.model_version import ModelVersion, model_version
from nightloom.settings import Settings
from tests.first_night import SMALL

D = date(2024, 3, 1)
TWO = datetime(2024, 3, 2, 2, tzinfo=UTC)
SCORING, POPULAR_STAGE, PUBLISHING = "spark_jobs.gold_recommendations", "spark_jobs.gold_popular", "serving.publish"
PUBLISHED = {"a": ["x", "y", "z"], "b": ["x", "z", "y"], "gone": ["x"]}


class Shop:
    """A lake in which nights are scored, published and rebuilt."""

    def __init__(self, root: Path) -> None:
        (root / "nightloom.toml").write_text(SMALL.replace("k = 10", "k = 2"), encoding="utf8")
        self.settings: Settings = settings_module.load(root / "nightloom.toml")
        self.lake = Lake(self.settings.place("lake"))
        self.moment = TWO

    def ran(self, stage: str, run: str = "scheduled__1", version: str = "1", **given: Any) -> None:
        """A stage's row, an hour after the one before."""
        self.moment += timedelta(hours=1)
        row = {
            "run_id": run, "night": D, "stage": stage, "status": "ok", "started_at": self.moment, "seconds": 5.0,
            "reads": [("silver.items", 1)], "writes": [], "rows": [], "tags": [("model_version", version)],
            "code": "c1", "config": "d1", "error": None,
        }  # fmt: skip
        self.lake.append(STAGES, [row | given])

    def scored(self, lists: dict[str, list[str]], top: list[str], **given: Any) -> None:
        """Lists and the popular list of the night, each in one more version of its table, the old ones taken out."""
        for table, rows in ((RECOMMENDATIONS, self._lists(lists)), (POPULAR, self._popular(top))):
            if self.lake.exists(table):
                self.lake.open(table).delete()
            self.lake.append(table, rows)
            stage = SCORING if table is RECOMMENDATIONS else POPULAR_STAGE
            self.ran(stage, **given, writes=[(table.full_name, self.lake.version(table))])

    def published(self) -> None:
        tables = (RECOMMENDATIONS, POPULAR)
        self.ran(PUBLISHING, reads=[(table.full_name, self.lake.version(table)) for table in tables])

    def _lists(self, lists: dict[str, list[str]]) -> list[dict[str, Any]]:
        same = {"night": D, "model_version": "1", "generated_at": TWO, "full_night": D}
        return [
            same | {"user_id": user, "items": items, "scores": [1.0 for _ in items]} for user, items in lists.items()
        ]

    def _popular(self, items: list[str]) -> list[dict[str, Any]]:
        return [{"night": D, "segment": "all", "items": items, "scores": [1.0 for _ in items]}]

    @property
    def difference(self) -> Difference:
        (found,) = compare(self.settings, [D])
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.scored(PUBLISHED, ["x", "y"])
    made.published()
    return made


def test_users_lists_and_the_first_k_are_counted_by_hand(shop: Shop) -> None:
    rebuilt = {"a": ["x", "y", "z"], "b": ["x", "y", "z"], "new": ["q"]}
    shop.scored(rebuilt, ["y", "x"], run="backfill__1")
    found = shop.difference
    assert (found.verdict, found.users, found.same, found.only_published, found.only_rebuilt) == ("other", 2, 1, 1, 1)
    assert found.overlap == 3 / 4  # a: both of two; b: x of x and z
    assert found.popular_differs


def test_the_same_lists_are_the_same_whatever_changed(shop: Shop) -> None:
    shop.scored(PUBLISHED, ["x", "y"], run="backfill__1", code="c2")
    assert (shop.difference.verdict, shop.difference.because) == ("same", {"code": "c1 -> c2"})


def test_each_change_is_named(shop: Shop) -> None:
    changed: dict[str, Any] = {"version": "2", "code": "c2", "config": "d2", "reads": [("silver.items", 4)]}
    shop.scored({"a": ["q"]}, ["x", "y"], run="backfill__1", **changed)
    assert shop.difference.because == {
        "model": "1 -> 2", "config": "d1 -> d2", "code": "c1 -> c2",
        "catalogue": "silver.items@1 -> silver.items@4",
    }  # fmt: skip


def test_late_data_are_the_days_up_to_the_night_that_were_reopened_in_between(shop: Shop) -> None:
    reopened = {"run_id": "r", "night": D, "table": "gold.item_days", "why": "late", "reopened_at": shop.moment}
    days = {D: 3, D - timedelta(days=2): 4, D + timedelta(days=1): 100}
    shop.lake.append(REOPENINGS, [reopened | {"period": day, "rows": rows} for day, rows in days.items()])
    before = reopened | {"run_id": "before", "period": D, "rows": 1000, "reopened_at": TWO}
    week = reopened | {"table": "gold.histories", "period": D, "rows": 1000}
    shop.lake.append(REOPENINGS, [before, week])
    shop.scored({"a": ["q"]}, ["x", "y"], run="backfill__1")
    assert shop.difference.because == {"late data": "7 rows on 2 days"}


def test_a_later_night_run_or_backfill_of_another_day_does_not_change_the_answer(shop: Shop) -> None:
    shop.scored(PUBLISHED, ["x", "y"], run="backfill__1")
    shop.scored({"a": ["q"]}, ["q"], run="manual__later")
    assert shop.difference.verdict == "same"


def test_what_cannot_be_compared_says_why(shop: Shop) -> None:
    assert shop.difference.verdict == "was not rebuilt since it was published"
    (unknown,) = compare(shop.settings, [D + timedelta(days=1)])
    assert unknown.verdict == "was never published"
    shop.scored(PUBLISHED, ["x", "y"], run="backfill__1")
    shop.lake.open(RECOMMENDATIONS).vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert shop.difference.verdict.endswith("of gold.recommendations are gone: a vacuum removed them")
    shutil.rmtree(shop.lake.path(RECOMMENDATIONS))
    assert "is not in" in shop.difference.verdict


def test_a_night_has_the_model_it_was_published_with_then_the_first_that_scored_it(shop: Shop) -> None:
    shop.scored(PUBLISHED, ["x"], version="7", run="manual__2")
    assert model_version(shop.lake, D) == ModelVersion("1", "the night was published with it")
    shop.lake.open(STAGES).delete(f"stage = '{PUBLISHING}'")
    assert model_version(shop.lake, D) == ModelVersion("1", "the night was first scored with it")
    shop.lake.open(STAGES).delete("run_id = 'scheduled__1'")
    shop.ran(SCORING, run="backfill__1", version="9")
    assert model_version(shop.lake, D) == ModelVersion("7", "the night was first scored with it")


def test_a_night_that_never_was_has_the_champion_of_its_day(shop: Shop) -> None:
    next_day = D + timedelta(days=1)
    assert model_version(shop.lake, next_day) is None
    gates = ((D + timedelta(days=2), "9"), (D, "4"), (D - timedelta(days=9), "3"), (D - timedelta(days=10), "None"))
    for night, version in gates:
        shop.ran("training.model_gate", night=night, version=version)
    assert model_version(shop.lake, next_day) == ModelVersion("4", "it was the champion of that day")
    assert model_version(shop.lake, D - timedelta(days=10)) is None
