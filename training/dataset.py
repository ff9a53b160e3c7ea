"""silver.interactions at a pinned version, as Arrow -> training examples, and the holdout: the later days that test.

A like is an interaction of weight > 0. An interaction of weight 0 was seen and not liked: no model trains on it, and
no list repeats its item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.base import F32, I32, I64, Examples, Histories, Strings, positions
from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake

Bools = NDArray[np.bool_]
Texts = NDArray[Any]
"""Of numpy's type object, or str: in an array of objects one long text takes the room of one long text."""
ROWS_AT_A_TIME = 1_000_000
"""Rows whose ids are in memory as texts; the rest of the log is numbers, 20 bytes a row."""


@dataclass(frozen=True)
class InteractionLog:
    """N interactions as numbers; users and items are indices into their sorted ids."""

    user_ids: Texts
    item_ids: Strings
    users_N: I32
    items_N: I32
    weights_N: F32
    times_N: I64
    """Unix seconds."""

    def likes(self, chosen_N: Bools) -> Histories:
        """The likes among the chosen interactions, one history per user of the log."""
        likes_N = chosen_N & (self.weights_N > 0)
        users_N, items_N, weights_N = self.users_N[likes_N], self.items_N[likes_N], self.weights_N[likes_N]
        return Histories.from_events(len(self.user_ids), users_N, items_N, weights_N, self.times_N[likes_N])

    def liked_before(self, moment: datetime) -> InteractionLog:
        """The likes before a moment, with their users and items only: what read_log(only_likes=True) reads."""
        chosen_N = (self.times_N < int(moment.timestamp())) & (self.weights_N > 0)
        users, users_N = np.unique(self.users_N[chosen_N], return_inverse=True)
        items, items_N = np.unique(self.items_N[chosen_N], return_inverse=True)
        numbers = users_N.astype(np.int32), items_N.astype(np.int32), self.weights_N[chosen_N], self.times_N[chosen_N]
        return InteractionLog(self.user_ids[users], self.item_ids[items], *numbers)

    def matrix(self, chosen_N: Bools) -> csr_array:
        """Users x items, True for each pair of a chosen interaction."""
        shape = (len(self.user_ids), len(self.item_ids))
        ones = np.ones(int(chosen_N.sum()), np.bool_)
        return csr_array((ones, (self.users_N[chosen_N], self.items_N[chosen_N])), shape=shape)


def count_rows_before(lake: Lake, version: int, before: datetime) -> int:
    """Number of interactions before a moment, likes or not."""
    counts = lake.rows(INTERACTIONS, before_condition(before), ("count(*) AS n",), version)
    return int(counts["n"][0].as_py())


def before_condition(moment: datetime) -> str:
    """SQL condition on silver.interactions: earlier than a moment (UTC)."""
    return f"occurred_at < TIMESTAMP '{moment:%Y-%m-%dT%H:%M:%S}Z'"


def read_log(lake: Lake, version: int, before: datetime, *, only_likes: bool) -> InteractionLog:
    """Interactions of one table version that happened before a moment. Raises MissingTableError."""
    where = before_condition(before) + (" AND weight > 0" if only_likes else "")
    columns = ("user_id", "item_id", "weight", "to_unixtime(occurred_at) AS at")
    return log_from_arrow(lake.stream(INTERACTIONS, where, columns, version))


def log_from_arrow(batches: Iterable[pa.RecordBatch]) -> InteractionLog:
    """Batches with user_id, item_id, weight and at (Unix seconds) -> InteractionLog, as they come."""
    users, items = _Encoder(), _Encoder()
    weights, times = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for rows in _joined(batches):
        users.add(rows["user_id"])
        items.add(rows["item_id"])
        weights.append(rows["weight"].to_numpy().astype(np.float32))
        times.append(rows["at"].to_numpy().astype(np.int64))
    (user_ids, users_N), (item_ids, items_N) = users.sorted(), items.sorted()
    known = np.array(item_ids.tolist(), np.str_)
    return InteractionLog(user_ids, known, users_N, items_N, np.concatenate(weights), np.concatenate(times))


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches, joined to ROWS_AT_A_TIME or more: the encoder looks through all ids for each."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= ROWS_AT_A_TIME:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


class _Encoder:
    """Texts -> numbers, in pieces. Arrow's large texts have 64-bit offsets: 32-bit ones end at 2 GiB of ids."""

    def __init__(self) -> None:
        self.ids = pa.array([], pa.large_string())
        self.parts = [np.empty(0, np.int32)]

    def add(self, column: pa.ChunkedArray) -> None:
        """Encode more rows."""
        encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
        place = pc.index_in(encoded.dictionary, value_set=self.ids)
        new = place.is_null()
        number = np.array(pc.fill_null(place, 0), np.int32)
        count = len(self.ids)
        self.ids = pa.concat_arrays([self.ids, encoded.dictionary.filter(new)])
        number[new.to_numpy(zero_copy_only=False)] = np.arange(count, len(self.ids), dtype=np.int32)
        self.parts.append(number[encoded.indices.to_numpy()])

    def sorted(self) -> tuple[Texts, I32]:
        """Sorted distinct ids, and each row's index among them."""
        order = pc.sort_indices(self.ids).to_numpy()
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        ids = self.ids.take(pa.array(order)).to_numpy(zero_copy_only=False)
        return ids, rank[np.concatenate(self.parts)]


def training_examples(likes: InteractionLog, cut: datetime, seed: int) -> Examples:
    """Examples of all users; `likes` as read_log(..., before=cut, only_likes=True) gives them."""
    return Examples(likes.item_ids, likes.likes(np.ones(len(likes.users_N), np.bool_)), int(cut.timestamp()), seed)


@dataclass(frozen=True)
class Holdout:
    """T users who liked something new after the cut: what they did before it, and their later likes as targets.

    I items are in the order of `item_ids`.
    """

    user_ids: Texts
    item_ids: Strings
    histories: Histories
    """Likes of each user before the cut."""
    seen: csr_array
    """T x I, items that the user interacted with before the cut."""
    targets: csr_array
    """T x I, items that the user liked after the cut and had not seen before it."""

    @property
    def warm_T(self) -> Bools:
        """Whether the user liked anything before the cut."""
        return self.histories.lengths_B > 0

    def index_in(self, item_ids: Strings) -> I64:
        """I: each item's index in a model's item order, -1 for an item that the model does not know."""
        model_index = positions(item_ids)
        return np.array([model_index.get(item, -1) for item in self.item_ids.tolist()], np.int64)


def holdout_after(log: InteractionLog, cut: datetime) -> Holdout:
    """The days from the cut to the end of the log, for the users who have a target in them."""
    before_N = log.times_N < int(cut.timestamp())
    seen = log.matrix(before_N)
    liked = log.matrix(~before_N & (log.weights_N > 0))
    targets = csr_array(liked > liked.multiply(seen))
    users = np.flatnonzero(np.diff(targets.indptr))
    histories = log.likes(before_N)
    return Holdout(log.user_ids[users], log.item_ids, histories.of(users), seen[users], targets[users])
