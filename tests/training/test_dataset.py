"""From rows of silver.interactions to training examples and the holdout."""

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from nightloom.contracts import INTERACTIONS
from nightloom.night.context import Night
from tests.training.small_project import MakeProject, event, night_of
from training import dataset
from training.dataset import count_rows_before, holdout_after, log_from_arrow, read_log, training_examples

CutNight = tuple[Night, datetime]


@pytest.fixture
def cut_night(project: MakeProject) -> CutNight:
    """Two days of holdout: ann has a history and a new like, bob is new, cem likes a seen item, dan likes nothing."""
    rows = [
        event("ann", "x", 9), event("ann", "y", 8, weight=0), event("ann", "y", 1), event("ann", "z", 1),
        event("bob", "x", 0.5), event("bob", "x", 0.4),
        event("cem", "x", 5), event("cem", "x", 1),
        event("dan", "q", 1, weight=0),
    ]  # fmt: skip
    night = night_of(project(["popularity"], rows))
    return night, night.end - timedelta(days=2)


def test_examples_hold_only_likes_before_the_cut(cut_night: CutNight) -> None:
    night, cut = cut_night
    examples = training_examples(
        read_log(night.lake, night.lake.version(INTERACTIONS), cut, only_likes=True), cut, seed=1
    )
    assert examples.item_ids.tolist() == ["x"]
    assert len(examples.histories) == 2
    assert (examples.histories.times < cut.timestamp()).all()


def test_targets_are_new_likes_after_the_cut_and_histories_end_before_it(cut_night: CutNight) -> None:
    night, cut = cut_night
    holdout = holdout_after(read_log(night.lake, night.lake.version(INTERACTIONS), night.end, only_likes=False), cut)
    assert holdout.user_ids.tolist() == ["ann", "bob"]
    targets = {user: holdout.item_ids[holdout.targets[[n]].indices].tolist() for n, user in enumerate(holdout.user_ids)}
    assert targets == {"ann": ["z"], "bob": ["x"]}  # ann had seen y, bob's two likes are one target
    assert holdout.histories.lengths_B.tolist() == [1, 0]
    assert holdout.warm_T.tolist() == [True, False]
    assert sorted(holdout.item_ids[holdout.seen[[0]].indices]) == ["x", "y"]


def test_histories_are_oldest_first_and_events_of_one_second_in_item_order(project: MakeProject) -> None:
    rows = [event("ann", item, days) for item, days in [("c", 4), ("b", 5), ("d", 4), ("a", 4)]]
    night = night_of(project(["popularity"], rows))
    examples = training_examples(
        read_log(night.lake, night.lake.version(INTERACTIONS), night.end, only_likes=True), night.end, seed=1
    )
    assert examples.item_ids[examples.histories.items].tolist() == ["b", "a", "c", "d"]


def test_rows_are_counted_up_to_a_moment_at_a_version(cut_night: CutNight) -> None:
    night, cut = cut_night
    assert count_rows_before(night.lake, night.lake.version(INTERACTIONS), night.end) == 9
    assert count_rows_before(night.lake, night.lake.version(INTERACTIONS), cut) == 3
    assert count_rows_before(night.lake, night.lake.version(INTERACTIONS) - 1, night.end) == 0


@pytest.mark.slow  # 3 GiB
def test_ids_longer_together_than_32_bit_offsets_reach_are_read() -> None:
    ids = pa.array(["ann"]), pa.array(["u" * (1 << 27)])  # 17 of them are more than 2 GiB
    batches = [
        pa.record_batch([ids[n % 2], [f"i{n % 3}"], [float(n)], [n]], names=["user_id", "item_id", "weight", "at"])
        for n in range(34)
    ]
    log = log_from_arrow(batches)
    assert [len(user) for user in log.user_ids] == [3, 1 << 27]
    assert log.users_N.tolist() == [n % 2 for n in range(34)]
    assert log.item_ids[log.items_N].tolist() == [f"i{n % 3}" for n in range(34)]


def test_a_log_in_pieces_is_the_log(cut_night: CutNight, monkeypatch: pytest.MonkeyPatch) -> None:
    night, cut = cut_night
    version = night.lake.version(INTERACTIONS)
    whole = read_log(night.lake, version, night.end, only_likes=False)
    monkeypatch.setattr(dataset, "ROWS_AT_A_TIME", 2)
    rows = night.lake.rows(INTERACTIONS, columns=["user_id", "item_id", "weight", "to_unixtime(occurred_at) AS at"])
    for pieces, expected in (
        (log_from_arrow(rows.to_batches(max_chunksize=1)), whole),
        (whole.liked_before(cut), read_log(night.lake, version, cut, only_likes=True)),
    ):
        for name, values in vars(expected).items():
            assert getattr(pieces, name).tolist() == values.tolist(), name
