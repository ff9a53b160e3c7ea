"""Beyond-accuracy metrics against the values of RecTools, and against slow definitions."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from models.base import I32
from training.beyond_accuracy import average_popularity, coverage, gini, novelty

ITEMS = "abcdefg"
LIKED = ("abc", "ab", "acd", "a", "be")
LISTS = np.array([[ITEMS.index(item) for item in row] for row in ("def", "cda", "bef", "bcd")], np.int32)
POPULARITY = np.array([sum(item in liked for liked in LIKED) for item in ITEMS])


def test_values_are_those_of_rectools() -> None:
    """RecTools 0.19.0 (which wants numpy 1, so it is not installed here) on LIKED and LISTS.

    MeanInvUserFreq(3), AvgRecPopularity(3), CatalogCoverage(3, normalize=True); it has no Gini index.
    """
    bits = [2.321928094887362, 1.3219280948873622, 1.7936072613136436, 1.4602739279803103]
    np.testing.assert_allclose(novelty(LISTS, POPULARITY, len(LIKED)), bits)
    np.testing.assert_allclose(average_popularity(LISTS, POPULARITY), [2 / 3, 7 / 3, 4 / 3, 2])
    assert coverage(LISTS, len(ITEMS)) == pytest.approx(0.8571428571428571)


def test_an_empty_place_does_not_count_and_an_empty_list_has_no_value() -> None:
    lists = np.array([[0, -1], [-1, -1]], np.int32)
    assert coverage(lists, 4) == 0.25
    np.testing.assert_array_equal(average_popularity(lists, np.array([8, 4, 0, 0])), [8, np.nan])
    np.testing.assert_array_equal(novelty(lists, np.array([2, 4, 0, 0]), 8), [2, np.nan])


def test_gini_is_0_if_all_items_are_listed_equally_often_and_near_1_if_only_one_is() -> None:
    assert gini(np.array([[0, 1], [2, 3]], np.int32), 4) == pytest.approx(0)
    assert gini(np.full((9, 1), 7, np.int32), 100) == pytest.approx(0.99)


@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(0, 7)))
def test_gini_is_half_the_mean_difference_of_two_items_over_the_mean(lists: I32) -> None:
    places: NDArray[np.int64] = np.bincount(lists.ravel(), minlength=8)
    difference = np.mean([abs(one - other) for one, other in product(places.tolist(), repeat=2)])
    assert gini(lists, 8) == pytest.approx(difference / (2 * places.mean()))
