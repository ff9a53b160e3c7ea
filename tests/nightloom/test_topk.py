"""topk against a full sort in float64, on data where float32 is exact, so that ties are ties."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import nightloom.topk as module
from nightloom.topk import F32, Bools, TopKError, topk, topk_of_scores

Problem = dict[str, Any]


def sorted_whole(
    users: F32, items: F32, k: int, bias: NDArray[Any], seen: Bools, allowed: Bools
) -> tuple[NDArray[Any], NDArray[Any]]:
    scores = users.astype(np.float64) @ items.astype(np.float64).T + bias
    scores[seen | ~allowed] = -np.inf
    order = np.lexsort((np.broadcast_to(np.arange(len(items)), scores.shape), -scores), axis=1)[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    pad = ((0, 0), (0, k - order.shape[1]))
    best = np.pad(best, pad, constant_values=-np.inf)
    return np.where(np.isneginf(best), -1, np.pad(order, pad)), best


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    users, items, factors = draw(st.integers(0, 9)), draw(st.integers(1, 23)), draw(st.integers(1, 4))
    # Multiples of 1/4 below 2^6: every product and sum is exact in float32, and many scores are equal.
    quarters = st.integers(-256, 256).map(lambda n: n / 4)
    few = st.sampled_from([-1.0, 0.0, -0.0, 1.0])
    values = draw(st.sampled_from([quarters, few]))
    return {
        "users": draw(hnp.arrays(np.float32, (users, factors), elements=values)),
        "items": draw(hnp.arrays(np.float32, (items, factors), elements=values)),
        "k": draw(st.integers(1, 30)),
        "bias": draw(hnp.arrays(np.float32, items, elements=values)),
        "seen": draw(hnp.arrays(np.bool_, (users, items))),
        "allowed": draw(hnp.arrays(np.bool_, items)),
    }


@settings(max_examples=300, deadline=None)
@given(problems(), st.integers(1, 5), st.integers(1, 7))
def test_equals_a_full_sort_whatever_the_block_size(
    problem: Problem, users_per_block: int, items_per_block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "USERS_PER_BLOCK", users_per_block)
        patch.setattr(module, "ITEMS_PER_BLOCK", items_per_block)
        closed = {"seen": csr_matrix(problem["seen"]), "allowed_I": problem["allowed"]}
        made = topk(problem["users"], problem["items"], problem["k"], bias_I=problem["bias"], **closed)
        given_scores = problem["users"] @ problem["items"].T + problem["bias"]
        selected = topk_of_scores(given_scores, problem["k"], **closed)
    right_ids, right_scores = sorted_whole(**problem)
    for ids, scores in (made, selected):
        assert ids.dtype == np.int32
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(ids, right_ids)
        np.testing.assert_array_equal(scores, right_scores)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-30, 1e15))
def test_real_numbers_of_any_size_agree_with_float64_up_to_rounding(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    users = rng.standard_normal((5, 8), np.float32) * np.float32(scale)
    items = rng.standard_normal((40, 8), np.float32)
    _, scores = topk(users, items, 7)
    whole = np.sort(users.astype(np.float64) @ items.astype(np.float64).T, axis=1)[:, ::-1][:, :7]
    np.testing.assert_allclose(scores, whole, rtol=1e-4, atol=scale * 1e-5)


def test_more_than_one_block_gives_one_list() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(-8, 8, (1100, 6)).astype(np.float32), rng.integers(-8, 8, (9000, 6)).astype(np.float32)
    ids, scores = topk(users, items, 20)
    everything = np.zeros((1100, 9000), bool)
    right_ids, right_scores = sorted_whole(users, items, 20, np.zeros(9000), everything, ~everything[0])
    np.testing.assert_array_equal(ids, right_ids)
    np.testing.assert_array_equal(scores, right_scores)


def test_seen_may_come_as_indptr_and_indices() -> None:
    ids, _ = topk(
        np.ones((2, 1), np.float32), np.ones((3, 1), np.float32), 3, seen=(np.array([0, 1, 3]), np.array([0, 1, 2]))
    )
    assert ids.tolist() == [[1, 2, -1], [0, -1, -1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"items_ID": np.ones((3, 2), np.float32)}, "one D"),
        ({"bias_I": np.ones(2, np.float32)}, "each of 3 items"),
        ({"allowed_I": np.ones(2, np.bool_)}, "expected bool"),
        ({"k": 0}, "at least one item"),
        ({"seen": (np.array([0]), np.array([0]))}, "one row per user"),
        ({"seen": (np.array([0, 1]), np.array([3]))}, "there are 0..2"),
        ({"users_UD": np.array([[np.nan]], np.float32)}, "finite"),
        ({"items_ID": np.full((3, 1), 3e38, np.float32), "users_UD": np.full((1, 1), 9, np.float32)}, "finite"),
    ],
)
def test_what_does_not_fit_together_is_an_error_that_says_so(change: Problem, said: str) -> None:
    arguments: Problem = {
        "users_UD": np.ones((1, 1), np.float32),
        "items_ID": np.ones((3, 1), np.float32),
        "k": 1,
    } | change
    with pytest.raises(TopKError, match=said):
        topk(**arguments)


@pytest.mark.parametrize("scores", [np.ones(3), np.array([[1, np.nan]]), np.array([[1, np.inf]])])
def test_scores_without_an_order_are_an_error(scores: NDArray[Any]) -> None:
    with pytest.raises(TopKError, match="U x I, finite"):
        topk_of_scores(scores, 1)
