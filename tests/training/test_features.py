"""From silver.items and silver.users at their versions to the words that models take, on every rank its users'."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from models.features import Features, hash_features
from nightloom.contracts import INTERACTIONS, ITEMS, USERS
from nightloom.lake import Lake
from tests.training.small_project import DAY, MakeProject, Row, event, night_of
from training.features import FeatureVersions, features_of, item_features, positions_in, user_features
from training.rank_shards import read_shard

CUT = DAY + timedelta(days=1)


def described(**known: Any) -> Row:
    """One row of silver.items or silver.users."""
    usual = {"attributes": [], "updated_at": datetime(2026, 1, 1, tzinfo=UTC), "row_id": "r", "night": DAY.date()}
    return usual | known


def item(item_id: str, *categories: str, **attributes: str) -> Row:
    return described(
        item_id=item_id, title=item_id, categories=list(categories), attributes=list(attributes.items()), available=True
    )


def user(user_id: str, **attributes: str) -> Row:
    return described(user_id=user_id, attributes=list(attributes.items()))


@pytest.fixture
def lake(project: MakeProject) -> Lake:
    lake = night_of(project(["popularity"], [event(f"u{n}", "i1", 5) for n in range(9)])).lake
    lake.append(ITEMS, [item("i2", "drama", "war", year="1995"), item("i1"), item("i0", "drama")])
    lake.append(USERS, [user(f"u{n}", city=f"c{n}", age="30") for n in range(0, 9, 2)])
    return lake


def words(features: Features, row: int) -> list[int]:
    return sorted(features.of(np.array([row])).hashes.tolist())


def hashes(*words: str) -> list[int]:
    return sorted(hash_features(words).tolist())


def test_an_item_has_a_word_for_each_category_and_attribute(lake: Lake) -> None:
    ids, features = item_features(lake, lake.version(ITEMS))
    assert ids.tolist() == ["i0", "i1", "i2"]
    assert [words(features, row) for row in range(3)] == [
        hashes("category=drama"), [], hashes("category=drama", "category=war", "year=1995"),
    ]  # fmt: skip


def test_an_earlier_version_has_the_items_of_its_time(lake: Lake) -> None:
    before = lake.version(ITEMS)
    lake.append(ITEMS, [item("i9", "new")])
    assert item_features(lake, before)[0].tolist() == ["i0", "i1", "i2"]


def test_users_are_found_by_their_ids_and_one_who_is_not_described_has_no_words(lake: Lake) -> None:
    features = features_of(lake, lake.version(USERS), np.array(["u4", "stranger", "u1", "u0"]))
    assert [words(features, row) for row in range(4)] == [
        hashes("city=c4", "age=30"),
        [],
        [],
        hashes("city=c0", "age=30"),
    ]


@pytest.mark.parametrize("size", [1, 3])
def test_each_rank_has_the_words_of_its_own_users_and_of_all_items_liked_or_not(lake: Lake, size: int) -> None:
    versions = FeatureVersions(lake.version(ITEMS), lake.version(USERS))
    shares = [read_shard(lake, lake.version(INTERACTIONS), CUT, 1, rank, size, versions) for rank in range(size)]
    found = []
    for rank, one in enumerate(shares):
        assert one.item_ids.tolist() == ["i0", "i1", "i2"]
        assert one.item_features is not None
        assert words(one.item_features, 0) == hashes("category=drama")
        features = one.histories.user_features
        assert features is not None
        assert len(features) == len(one.histories)
        described_ids, _ = user_features(lake, lake.version(USERS), rank, size)
        assert len(described_ids) == np.count_nonzero(np.diff(features.indptr))
        found += [words(features, row) for row in range(len(features))]
    assert sorted(found) == sorted([hashes(f"city=c{n}", "age=30") if n % 2 == 0 else [] for n in range(9)])


def test_without_features_only_liked_items_are_there(lake: Lake) -> None:
    known = read_shard(lake, lake.version(INTERACTIONS), CUT, 1)
    assert (known.item_ids.tolist(), known.item_features, known.histories.user_features) == (["i1"], None, None)


def test_places_in_a_sorted_array() -> None:
    assert positions_in(np.array([2, 4, 6]), np.array([6, 1, 4, 9])).tolist() == [2, -1, 1, -1]
    assert positions_in(np.empty(0), np.array([6])).tolist() == [-1]
