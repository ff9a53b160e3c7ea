"""The users of each segment, and a scorecard's values in it, on small data with known values."""

from datetime import UTC, datetime

import numpy as np
import pytest

from models.popularity import Popularity, PopularityParams
from training.dataset import InteractionLog
from training.scorecard import ALL, HOT, NEW, TAIL, WARM, EvaluationSet, evaluation_set, scorecard

CUT = datetime(2026, 1, 1, tzinfo=UTC)
AT = int(CUT.timestamp())


def likes_log(*events: tuple[str, str, int]) -> InteractionLog:
    """Likes of (user, item, seconds after the cut)."""
    users, items = (np.unique([event[place] for event in events], return_inverse=True) for place in (0, 1))
    times = np.array([AT + event[2] for event in events])
    ones = np.ones(len(events), np.float32)
    return InteractionLog(users[0], items[0], users[1].astype(np.int32), items[1].astype(np.int32), ones, times)


@pytest.fixture
def evaluation() -> EvaluationSet:
    """12 fans of item a and one of item b; ann and bob have short histories, cem a long one, dan none."""
    before = [(f"fan{fan}", "a", -9) for fan in range(12)] + [("fan0", "b", -8), ("ann", "a", -7), ("bob", "a", -7)]
    before += [("cem", item, -5) for item in "abc"]
    return evaluation_set(
        likes_log(*before, ("ann", "b", 1), ("bob", "c", 2), ("cem", "d", 3), ("dan", "a", 3), ("dan", "c", 4)),
        CUT,
    )


def test_popularity_counts_users_and_only_before_the_cut(evaluation: EvaluationSet) -> None:
    assert evaluation.holdout.item_ids.tolist() == ["a", "b", "c", "d"]
    assert evaluation.popularity_I.tolist() == [15, 2, 1, 0]
    assert evaluation.user_count == 15
    again = evaluation_set(likes_log(("ann", "a", -2), ("ann", "a", -1), ("ann", "b", 1)), CUT)
    assert again.popularity_I.tolist() == [1, 0]


def test_users_are_new_warm_or_hot_and_tail_items_are_the_least_liked(evaluation: EvaluationSet) -> None:
    assert evaluation.holdout.user_ids.tolist() == ["ann", "bob", "cem", "dan"]
    members = {
        segment: evaluation.holdout.user_ids[inside].tolist() for segment, inside in evaluation.users_by_segment.items()
    }
    assert members == {NEW: ["dan"], WARM: ["ann", "bob"], HOT: ["cem"]}
    assert evaluation.tail_I.tolist() == [False, True, True, True]


def test_a_scorecard_has_each_segments_users_and_in_the_tail_only_tail_targets(evaluation: EvaluationSet) -> None:
    scores = np.array([[4], [3], [2], [1]], np.float32)
    card = scorecard(Popularity(PopularityParams(), evaluation.holdout.item_ids, scores), evaluation, 1)
    assert card.lists_TK[:, 0].tolist() == [1, 1, 3, 0]  # b, b, d and a: the best that each had not seen
    recall = {segment: values.tolist() for segment, values in card.per_user["recall"].items()}
    assert recall[ALL] == [1, 0, 1, 0.5]
    np.testing.assert_equal(recall[WARM], [1, 0, np.nan, np.nan])
    np.testing.assert_equal(recall[NEW], [np.nan, np.nan, np.nan, 0.5])
    np.testing.assert_equal(recall[TAIL], [1, 0, 1, 0])  # dan's other target is of the head
    assert card.mean("recall", HOT) == 1
    assert card.beyond_accuracy["coverage"] == 0.75
    listed, liked = (2 + 2 + 0 + 15) / 4, (2 + 1 + 0 + 16 / 2) / 4
    assert card.beyond_accuracy["popularity_lift"] == pytest.approx(listed / liked - 1)
