"""Popularity and what every model takes: histories as arrays."""

import numpy as np

from models.base import Examples, Histories
from models.popularity import Popularity
from tests.models.checkerboard import CUT, fitted


def test_popularity_ranks_by_decayed_likes() -> None:
    items, days = np.array([0, 0, 0, 1, 1, 2], np.int32), np.array([40, 40, 40, 1, 1, 0])
    ones = np.ones(6, np.float32)
    histories = Histories.from_events(1, np.zeros(6, np.int64), items, ones, CUT - days * 86_400)
    known = Examples(np.array(["a", "b", "c"]), histories, CUT, seed=0)
    model = fitted("popularity", known, half_life_days=10)
    assert isinstance(model, Popularity)
    np.testing.assert_allclose(model.items_ID[:, 0], [3 / 16, 2 * 0.5**0.1, 1], rtol=1e-6)


def test_unknown_items_and_items_only_seen_are_not_in_a_history() -> None:
    ids = np.array(["a", "b"])
    histories = Histories.from_lists(ids, [["b", "x", "a"], [], ["a"]], [[1, 1, 1], [], [0]], [[1, 2, 3], [], [4]])
    assert histories.indptr.tolist() == [0, 2, 2, 2]
    assert histories.items.tolist() == [1, 0]
    assert histories.times.tolist() == [1, 3]
