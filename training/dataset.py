"""silver.interactions at a pinned version, as Arrow -> training examples, and the holdout: the later days that test.

A like is an interaction of weight > 0. An interaction of weight 0 was seen and not liked: no model trains on it, and
no list repeats its item.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.base import F32, I32, I64, Examples, Histories, Strings, positions
from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class InteractionLog:
    """N interactions as numbers; users and items are indices into their sorted ids."""

    user_ids: Strings
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
    return log_from_arrow(lake.rows(INTERACTIONS, where, columns, version))


def log_from_arrow(rows: pa.Table) -> InteractionLog:
    """An Arrow table with user_id, item_id, weight and at (Unix seconds) -> InteractionLog."""
    user_ids, users_N = _encode_ids(rows["user_id"])
    item_ids, items_N = _encode_ids(rows["item_id"])
    weights_N = rows["weight"].to_numpy().astype(np.float32)
    return InteractionLog(user_ids, item_ids, users_N, items_N, weights_N, rows["at"].to_numpy().astype(np.int64))


def _encode_ids(column: pa.ChunkedArray) -> tuple[Strings, I32]:
    """Sorted distinct ids, and each row's index among them."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    ids = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
    order = np.argsort(ids)
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return ids[order], rank[encoded.indices.to_numpy()] if len(ids) else np.empty(0, np.int32)


def training_examples(likes: InteractionLog, cut: datetime, seed: int) -> Examples:
    """Examples of all users; `likes` as read_log(..., before=cut, only_likes=True) gives them."""
    return Examples(likes.item_ids, likes.likes(np.ones(len(likes.users_N), np.bool_)), int(cut.timestamp()), seed)


@dataclass(frozen=True)
class Holdout:
    """T users who liked something new after the cut: what they did before it, and their later likes as targets.

    I items are in the order of `item_ids`.
    """

    user_ids: Strings
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
