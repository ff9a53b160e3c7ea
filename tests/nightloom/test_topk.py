"""topk against a full sort in float64: data where float32 is exact, so that ties are ties, and data of any size."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from nightloom.topk import F32, I32, Bools, TopKError, topk, topk_of_scores
from nightloom.topk import device as topk_device
from nightloom.topk import operands as topk_operands
from nightloom.topk.few_users import FewUsers
from nightloom.topk.operands import Screen

Problem = dict[str, Any]
EACH_SCREEN = pytest.mark.parametrize("screen", topk_operands.SCREENS)
"""Those that this processor can compute."""


def full_sort(
    users: F32, items: F32, k: int, bias: NDArray[Any], seen: Bools, allowed: Bools
) -> tuple[NDArray[Any], NDArray[Any]]:
    scores = users.astype(np.float64) @ items.astype(np.float64).T + bias
    scores[seen | ~allowed] = -np.inf
    order = np.lexsort((np.broadcast_to(np.arange(len(items)), scores.shape), -scores), axis=1)[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    pad = ((0, 0), (0, k - order.shape[1]))
    best = np.pad(best, pad, constant_values=-np.inf)
    return np.where(np.isneginf(best), -1, np.pad(order, pad)), best


def assert_equal(found: tuple[I32, F32], expected: tuple[NDArray[Any], NDArray[Any]]) -> None:
    ids, scores = found
    assert ids.dtype == np.int32
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


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


@st.composite
def large_problems(draw: st.DrawFn) -> Problem:
    """Some blocks of items, so that whole blocks are passed over; drawn by numpy, as hypothesis would take long."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items, factors = draw(st.integers(1, 40)), draw(st.integers(1000, 6000)), draw(st.sampled_from([1, 5, 64]))
    skewed = np.round(rng.lognormal(0, draw(st.sampled_from([0.0, 1.0])), (items, 1)))
    share = draw(st.sampled_from([0.0, 0.01, 0.5, 1.0]))
    return {
        "users": rng.integers(-8, 9, (users, factors)).astype(np.float32),
        "items": (rng.integers(-8, 9, (items, factors)) * skewed).astype(np.float32),
        "k": draw(st.sampled_from([1, 10, 100, 700])),
        "bias": np.round(rng.normal(0, draw(st.sampled_from([0, 10, 1000])), items)).astype(np.float32),
        "seen": rng.random((users, items)) < share,
        "allowed": rng.random(items) < draw(st.sampled_from([0.1, 1.0])),
    }


@EACH_SCREEN
@settings(max_examples=120, deadline=None)
@given(problem=st.one_of(problems(), large_problems()))
def test_equals_a_full_sort(problem: Problem, screen: Screen) -> None:
    exclusions = {"seen": csr_matrix(problem["seen"]), "allowed_I": problem["allowed"]}
    expected = full_sort(**problem)
    lists = topk(problem["users"], problem["items"], problem["k"], bias_I=problem["bias"], screen=screen, **exclusions)
    assert_equal(lists, expected)


@settings(max_examples=80, deadline=None)
@given(st.one_of(problems(), large_problems()))
def test_few_users_get_the_lists_of_a_full_sort(problem: Problem) -> None:
    exclusions = {"seen": csr_matrix(problem["seen"]), "allowed_I": problem["allowed"]}
    search = FewUsers(problem["items"], problem["bias"])
    found = search(problem["users"], problem["items"], problem["k"], bias_I=problem["bias"], **exclusions)
    assert_equal(found, full_sort(**problem))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), power=st.integers(-140, 40))
def test_few_users_get_the_lists_of_many_where_numbers_are_of_any_size(seed: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    users = np.ldexp(rng.standard_normal((3, 20)), power).astype(np.float32)
    items, bias = rng.standard_normal((3000, 20)).astype(np.float32), np.ldexp(rng.standard_normal(3000), power)
    bias_I = bias.astype(np.float32)
    expected, found = topk(users, items, 50, bias_I=bias_I), FewUsers(items, bias_I)(users, items, 50, bias_I=bias_I)
    np.testing.assert_allclose(found[1], expected[1], rtol=2.0**-23, atol=2.0**-148)
    same = found[0] == expected[0]
    assert (same | (np.abs(found[1] - expected[1]) <= 2.0**-22 * np.abs(expected[1]))).all()


def test_few_users_refuse_what_has_no_order_and_leave_other_items_to_topk() -> None:
    items = np.ones((4, 2), np.float32)
    with pytest.raises(TopKError, match="must be finite"):
        FewUsers(items * np.float32(np.nan), None)
    with pytest.raises(TopKError, match="must be finite"):
        FewUsers(items, None)(np.full((1, 2), np.inf, np.float32), items, 2)
    others = items[:2].copy()
    assert FewUsers(items, None)(items[:1], others, 3)[0].tolist() == [[0, 1, -1]]


@settings(max_examples=120, deadline=None)
@given(st.one_of(problems(), large_problems()))
def test_selection_from_score_rows_equals_a_full_sort(problem: Problem) -> None:
    exclusions = {"seen": csr_matrix(problem["seen"]), "allowed_I": problem["allowed"]}
    scores = problem["users"] @ problem["items"].T + problem["bias"]
    assert_equal(topk_of_scores(scores, problem["k"], **exclusions), full_sort(**problem))


@settings(max_examples=100, deadline=None)
@given(st.one_of(problems(), large_problems()), st.integers(1, 20_000))
def test_tensors_give_the_lists_of_a_full_sort(problem: Problem, scores_at_once: int) -> None:
    exclusions = {"seen": csr_matrix(problem["seen"]), "allowed_I": problem["allowed"]}
    users: Any = torch.from_numpy(problem["users"])
    items: Any = torch.from_numpy(problem["items"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk_device, "SCORES_PER_BLOCK", scores_at_once)
        found = topk(users, items, problem["k"], bias_I=problem["bias"], **exclusions)
    assert_equal(found, full_sort(**problem))


@EACH_SCREEN
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0, 3, 40]), power=st.integers(-140, 40))
def test_numbers_of_any_size_agree_with_float64_up_to_rounding(
    seed: int, spread: int, power: int, screen: Screen
) -> None:
    rng = np.random.default_rng(seed)
    users, items = (
        np.ldexp(rng.standard_normal((rows, 20)), size + rng.integers(-spread, spread + 1, (rows, 1))).astype(
            np.float32
        )
        for rows, size in ((9, power), (3000, 0))
    )
    items[rng.random(len(items)) < 0.1] = 0
    bias = np.ldexp(rng.standard_normal(len(items)), power).astype(np.float32)
    ids, scores = topk(users, items, 50, bias_I=bias, screen=screen)
    expected = users.astype(np.float64) @ items.astype(np.float64).T + bias
    rounding = 2.0**-23 * np.abs(expected) + 2.0**-148
    listed = np.take_along_axis(expected, ids.astype(np.int64), axis=1)
    assert (np.abs(scores - listed) <= np.take_along_axis(rounding, ids.astype(np.int64), axis=1)).all()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 50 for row in ids.tolist())
    left_out = np.ones(expected.shape, np.bool_)
    np.put_along_axis(left_out, ids.astype(np.int64), False, axis=1)
    assert ((expected <= scores[:, -1:] + rounding) | ~left_out).all()


@EACH_SCREEN
def test_a_user_has_the_same_list_alone_in_a_batch_and_on_any_number_of_threads(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((1200, 32), np.float32), rng.standard_normal((5000, 32), np.float32)
    seen = csr_matrix(rng.random((1200, 5000)) < 0.01)
    ids, scores = topk(users, items, 40, seen=seen, screen=screen)
    for user in (0, 500, 1199):
        assert_equal(
            topk(users[user : user + 1], items, 40, seen=seen[user], screen=screen), (ids[[user]], scores[[user]])
        )
    for threads in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, threads=threads: set(range(threads)))
        assert_equal(topk(users, items, 40, seen=seen, screen=screen), (ids, scores))


def test_all_screens_give_the_same_lists() -> None:
    rng = np.random.default_rng(1)
    users, items = rng.standard_normal((300, 50), np.float32), rng.standard_normal((9000, 50), np.float32)
    expected = topk(users, items, 100, screen="float32")
    for screen in topk_operands.SCREENS:
        assert_equal(topk(users, items, 100, screen=screen), expected)


@EACH_SCREEN
@pytest.mark.parametrize(("factors", "equal"), [(1, 1), (2, 2), (3, 2), (6, 4), (64, 2), (64, 64), (500, 500)])
def test_products_of_the_largest_coarse_numbers_do_not_overflow(screen: Screen, factors: int, equal: int) -> None:
    """The first factors are equal and the others nearly zero: no sum of products is larger.

    Further factors, which no user has, give the items a random order: the best of a later block must be found, too.
    """
    rng = np.random.default_rng(4)
    sizes = np.where(np.arange(factors) < equal, 1.0, 2.0**-10)
    users, items = (
        (rng.choice([-1, 1], (rows, 1)) * rng.integers(1000, 1025, (rows, 1)) * sizes).astype(np.float32)
        for rows in (20, 4000)
    )
    users = np.append(users, np.zeros((20, factors), np.float32), axis=1)
    items = np.append(items, rng.integers(0, 1000, (4000, factors)).astype(np.float32), axis=1)
    no_bias, no_items, all_items = np.zeros(4000), np.zeros((20, 4000), np.bool_), np.ones(4000, np.bool_)
    expected = full_sort(users, items, 50, no_bias, no_items, all_items)
    assert_equal(topk(users, items, 50, screen=screen), (expected[0], expected[1].astype(np.float32)))


def test_vectors_too_long_for_sums_of_8_bit_products_are_screened_in_float32() -> None:
    users, items = np.ones((1, topk_operands.MAX_FACTORS + 1), np.float32), np.zeros((300, 1), np.float32)
    items[[7, 250]] = 1
    ids, _ = topk(users, np.broadcast_to(items, (300, users.shape[1])), 3)
    assert ids.tolist() == [[7, 250, 0]]


def test_users_with_zero_vectors_get_the_unseen_items_of_the_largest_biases() -> None:
    bias = np.array([0, 3, 3, 9, 1], np.float32)
    seen = (np.array([0, 1, 1]), np.array([3]))
    ids, scores = topk(np.zeros((2, 4), np.float32), np.ones((5, 4), np.float32), 3, bias_I=bias, seen=seen)
    assert ids.tolist() == [[1, 2, 4], [3, 1, 2]]
    assert scores.tolist() == [[3, 3, 1], [9, 3, 3]]


def test_seen_may_come_as_indptr_and_indices_in_any_order() -> None:
    ids, _ = topk(
        np.ones((2, 1), np.float32), np.ones((4, 1), np.float32), 4, seen=(np.array([0, 1, 4]), np.array([0, 3, 2, 1]))
    )
    assert ids.tolist() == [[1, 2, 3, -1], [0, -1, -1, -1]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "screen", "needed"),
    [
        ("", "float32", ""),
        ("+avx2,+fma", "int16", "avx2"),
        ("+avx2,+fma,+avx512f,+avx512bw,+avx512vl,+avx512dq", "int16", "avx512bw"),
        ("+avx2,+fma,+avxvnni", "vnni", "avx_vnni"),
    ],
)
def test_older_processors_give_the_same_lists(features: str, screen: str, needed: str, tmp_path: Path) -> None:
    """numba compiles for them here: vectors of 128, 256 and 512 bits, with and without 8-bit products."""
    if needed not in Path("/proc/cpuinfo").read_text(encoding="utf8"):
        pytest.skip(f"this processor has no {needed}")
    rng = np.random.default_rng(2)
    users, items = rng.standard_normal((50, 30), np.float32), rng.standard_normal((7000, 30), np.float32)
    np.savez(tmp_path / "given", users=users, items=items)
    code = (
        "import numpy as np; from nightloom.topk import topk, operands; g = np.load('given.npz');"
        "i, s = topk(g['users'], g['items'], 100); np.savez('found', i=i, s=s); print(operands.SCREENS[0])"
    )
    older = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment = {**os.environ, **older, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout == f"{screen}\n"
    found = np.load(tmp_path / "found.npz")
    assert_equal((found["i"], found["s"]), topk(users, items, 100))


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_arguments_that_do_not_match_are_an_error_that_says_why(change: Problem, message: str) -> None:
    arguments: Problem = {
        "users_UD": np.ones((1, 1), np.float32),
        "items_ID": np.ones((3, 1), np.float32),
        "k": 1,
    } | change
    with pytest.raises(TopKError, match=message):
        topk(**arguments)


@pytest.mark.parametrize("scores", [np.ones(3), np.array([[1, np.nan]]), np.array([[1, np.inf]])])
def test_scores_without_an_order_are_an_error(scores: NDArray[Any]) -> None:
    with pytest.raises(TopKError, match="U x I, finite"):
        topk_of_scores(scores, 1)
