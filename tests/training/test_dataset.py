"""From rows of silver.interactions to what is trained on and what judges."""

from datetime import datetime, timedelta

import pytest

from nightloom.contracts import INTERACTIONS
from nightloom.night.context import Night
from tests.training.small import MakeProject, event, night_of
from training.dataset import count_rows_before, holdout_after, read_log, training_examples

Judged = tuple[Night, datetime]


@pytest.fixture
def judged(project: MakeProject) -> Judged:
    """Two days of holdout: ann has history and a new like, bob is new, cem likes only what he had, dan only looks."""
    rows = [
        event("ann", "x", 9), event("ann", "y", 8, weight=0), event("ann", "y", 1), event("ann", "z", 1),
        event("bob", "x", 0.5), event("bob", "x", 0.4),
        event("cem", "x", 5), event("cem", "x", 1),
        event("dan", "q", 1, weight=0),
    ]  # fmt: skip
    night = night_of(project(["popularity"], rows))
    return night, night.end - timedelta(days=2)


def test_nothing_after_the_cut_and_nothing_disliked_is_trained_on(judged: Judged) -> None:
    night, cut = judged
    known = training_examples(read_log(night.lake, night.lake.version(INTERACTIONS), cut, only_likes=True), cut, seed=1)
    assert known.item_ids.tolist() == ["x"]
    assert len(known.histories) == 2
    assert (known.histories.times < cut.timestamp()).all()


def test_targets_are_new_likes_after_the_cut_and_histories_end_before_it(judged: Judged) -> None:
    night, cut = judged
    later = holdout_after(read_log(night.lake, night.lake.version(INTERACTIONS), night.end, only_likes=False), cut)
    assert later.user_ids.tolist() == ["ann", "bob"]
    wanted = {user: later.item_ids[later.targets[[n]].indices].tolist() for n, user in enumerate(later.user_ids)}
    assert wanted == {"ann": ["z"], "bob": ["x"]}  # ann had seen y, bob's two likes are one target
    assert later.histories.lengths_B.tolist() == [1, 0]
    assert later.warm_T.tolist() == [True, False]
    assert sorted(later.item_ids[later.seen[[0]].indices]) == ["x", "y"]


def test_histories_are_oldest_first_and_events_of_one_second_in_item_order(project: MakeProject) -> None:
    rows = [event("ann", item, days) for item, days in [("c", 4), ("b", 5), ("d", 4), ("a", 4)]]
    night = night_of(project(["popularity"], rows))
    known = training_examples(
        read_log(night.lake, night.lake.version(INTERACTIONS), night.end, only_likes=True), night.end, seed=1
    )
    assert known.item_ids[known.histories.items].tolist() == ["b", "a", "c", "d"]


def test_rows_are_counted_up_to_a_moment_at_a_version(judged: Judged) -> None:
    night, cut = judged
    assert count_rows_before(night.lake, night.lake.version(INTERACTIONS), night.end) == 9
    assert count_rows_before(night.lake, night.lake.version(INTERACTIONS), cut) == 3
    assert count_rows_before(night.lake, night.lake.version(INTERACTIONS) - 1, night.end) == 0
