"""The metrics on small lists with known values, and against slow definitions and trec_eval on random lists."""

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.base import Histories
from models.popularity import Popularity, PopularityParams
from training.dataset import Holdout
from training.ranking_metrics import METRICS, hit_rate, hits, mrr, ndcg, ranked_lists, recall

LISTS = np.array([[0, 1, 2], [3, 4, -1]], np.int32)
TARGETS = csr_array(np.array([[0, 1, 1, 1, 1], [0, 0, 0, 1, 0]], bool))


def test_a_hit_is_a_listed_target_and_an_empty_place_is_no_hit() -> None:
    assert hits(LISTS, TARGETS).tolist() == [[False, True, True], [True, False, False]]


def test_metrics_of_a_list_with_known_values() -> None:
    hits_TK, targets_T = hits(LISTS, TARGETS), np.array([4, 1])
    assert recall(hits_TK, targets_T).tolist() == [0.5, 1.0]
    assert mrr(hits_TK, targets_T).tolist() == [0.5, 1.0]
    assert hit_rate(hits_TK, targets_T).tolist() == [1.0, 1.0]
    first = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3) + 1 / math.log2(4))
    np.testing.assert_allclose(ndcg(hits_TK, targets_T), [first, 1.0])


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 8))), st.integers(0, 5))
def test_metrics_equal_their_slow_definitions(hits_TK: NDArray[np.bool_], beyond: int) -> None:
    targets_T = hits_TK.sum(axis=1) + beyond + 1
    for row, targets, a, b, c in zip(
        hits_TK, targets_T, ndcg(hits_TK, targets_T), recall(hits_TK, targets_T), mrr(hits_TK, targets_T), strict=True
    ):
        places = [place for place, hit in enumerate(row.tolist(), 1) if hit]
        best = sum(1 / math.log2(place + 1) for place in range(1, min(len(row), targets) + 1))
        assert a == pytest.approx(sum(1 / math.log2(place + 1) for place in places) / best)
        assert b == pytest.approx(len(places) / targets)
        assert c == (1 / places[0] if places else 0)


@given(st.data())
def test_metrics_equal_those_of_trec_eval(data: st.DataObject) -> None:
    items, k = data.draw(st.integers(2, 12), "items"), data.draw(st.integers(1, 8), "k")
    listed = np.array(data.draw(st.permutations(range(items)), "list")[:k], np.int32)[None]
    wanted = data.draw(st.sets(st.integers(0, items - 1), min_size=1), "targets")
    targets = csr_array(np.isin(np.arange(items), list(wanted))[None])
    ours = {
        name: float(metric(hits(listed, targets), np.diff(targets.indptr))[0])
        for name, metric in METRICS.items()
    }  # fmt: skip

    places = listed.shape[1]
    theirs = {
        "ndcg": f"ndcg_cut_{places}", "recall": f"recall_{places}", "mrr": "recip_rank",
        "hit_rate": f"success_{places}",
    }  # fmt: skip
    judge = pytrec_eval.RelevanceEvaluator({"u": {f"i{item}": 1 for item in wanted}}, set(theirs.values()))
    ranked = {f"i{item}": float(places - place) for place, item in enumerate(listed[0].tolist())}
    found = judge.evaluate({"u": ranked})["u"]
    assert ours == pytest.approx({name: found[their] for name, their in theirs.items()})


def test_ranked_lists_use_the_holdouts_item_order_and_leave_out_seen_items() -> None:
    """The model's item order differs from the holdout's, and it lacks one item."""
    ids, scores = np.array(["d", "a", "c"]), np.array([[3], [2], [1]], np.float32)
    model = Popularity(PopularityParams(), ids, scores)
    empty = Histories.from_lists(ids, [[], []], [[], []], [[], []])
    seen = csr_array(np.array([[0, 1, 0, 1], [1, 0, 0, 0]], bool))
    holdout = Holdout(np.array(["u", "v"]), np.array(["a", "b", "c", "d"]), empty, seen, seen)
    assert ranked_lists(model, holdout, 3).tolist() == [[0, 2, -1], [3, 2, -1]]
