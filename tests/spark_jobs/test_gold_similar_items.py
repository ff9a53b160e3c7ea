"""gold.similar_items: for every item the others whose scores it raises most, by models of either shape."""

import numpy as np
import pytest

from models import recommend
from models.als import ALS, ALSParams
from models.base import Examples, Histories, Model, no_report
from models.blend import Blend, BlendParams
from models.item_to_item import ItemToItem, ItemToItemParams
from models.popularity import Popularity, PopularityParams
from models.recommend import scores
from spark_jobs.gold_similar_items import similar

IDS = np.array(["a", "b", "c", "d", "e", "f"])
LIKED = ["ab", "ab", "ab", "bc", "abc", "de", "de", "f"]
"""a goes with b, more than with c; d with e; f with nothing."""


def examples() -> Examples:
    rows = np.repeat(np.arange(len(LIKED)), [len(liked) for liked in LIKED])
    items = np.array([list(IDS).index(item) for liked in LIKED for item in liked], np.int32)
    n = len(items)
    histories = Histories.from_events(len(LIKED), rows, items, np.ones(n, np.float32), np.zeros(n, np.int64))
    return Examples(IDS, histories, cut=0, seed=0)


def found(model: Model, hidden: str = "", k: int = 3) -> dict[str, str]:
    allowed_I = ~np.isin(IDS, list(hidden))
    rows = [
        row for batch in similar(model, allowed_I, np.arange(len(IDS), dtype=np.int32), k) for row in batch.to_pylist()
    ]
    assert all(row["scores"] == sorted(row["scores"], reverse=True) for row in rows)
    return {row["item_id"]: "".join(row["items"]) for row in rows}


@pytest.fixture
def neighbours() -> ItemToItem:
    return ItemToItem.fit(examples(), ItemToItemParams(shrinkage=0), no_report)


def test_beside_an_item_stand_those_that_the_same_people_like_never_itself(neighbours: ItemToItem) -> None:
    assert found(neighbours) == {"a": "bc", "b": "ac", "c": "ba", "d": "e", "e": "d"}
    assert found(neighbours, k=1) == {"a": "b", "b": "a", "c": "b", "d": "e", "e": "d"}


def test_what_cannot_be_had_is_in_no_list_but_has_one_itself(neighbours: ItemToItem) -> None:
    assert found(neighbours, hidden="b") == {"a": "c", "b": "ac", "c": "a", "d": "e", "e": "d"}
    assert "e" not in found(neighbours, hidden="d")


def test_a_model_with_vectors_gives_the_largest_gains_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommend, "ITEMS_AT_A_TIME", 4)
    model = ALS.fit(examples(), ALSParams(factors=4, sweeps=5), no_report)
    lists = found(model, k=5)
    nobody = scores(model, Histories.from_lists(IDS, [[]], [[]], [[]]))[0]
    for item in IDS:
        one = Histories.from_lists(IDS, [[item]], [[1.0]], [[1_709_337_600]])
        gain = scores(model, one)[0] - nobody
        best = [other for other in IDS[np.argsort(-gain, kind="stable")] if other != item]
        assert lists.get(str(item), "") == "".join(other for other in best if gain[list(IDS).index(other)] > 0)
    assert lists["a"][0] == "b"
    assert lists["d"][0] == "e"


def test_a_blend_adds_what_its_members_say_each_on_its_scale_and_no_popularity(neighbours: ItemToItem) -> None:
    weights = np.array([1.0, 3.0], np.float32)
    popular = Popularity.fit(examples(), PopularityParams(), no_report)
    blend = Blend(BlendParams(members="item_to_item, popularity"), IDS, (neighbours, popular), weights)
    assert found(blend) == found(neighbours)


def test_popularity_knows_nothing_that_goes_with_an_item() -> None:
    assert found(Popularity.fit(examples(), PopularityParams(), no_report)) == {}
