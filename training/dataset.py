"""silver.interactions at a pinned version, as Arrow -> what models train on, and the later days that judge them.

Likes are interactions of weight > 0; touched items of weight 0 were seen and not liked: never trained on, never listed.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.base import F32, I32, I64, Examples, Histories, Strings, positions
from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake


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

    def likes(self, chosen_N: np.typing.NDArray[np.bool_]) -> Histories:
        """The likes among the chosen events, one history per user of the log."""
        keep = chosen_N & (self.weights_N > 0)
        return Histories.from_events(
            len(self.user_ids), self.users_N[keep], self.items_N[keep], self.weights_N[keep], self.times_N[keep]
        )

    def matrix(self, chosen_N: np.typing.NDArray[np.bool_]) -> csr_array:
        """Users x items, True where one of the chosen events is."""
        shape = (len(self.user_ids), len(self.item_ids))
        ones = np.ones(int(chosen_N.sum()), np.bool_)
        return csr_array((ones, (self.users_N[chosen_N], self.items_N[chosen_N])), shape=shape)


def count_rows_before(lake: Lake, version: int, before: datetime) -> int:
    """How many interactions there were before a moment, likes or not."""
    counted = lake.rows(INTERACTIONS, before_condition(before), ("count(*) AS n",), version)
    return int(counted["n"][0].as_py())


def before_condition(moment: datetime) -> str:
    """SQL condition on silver.interactions."""
    return f"occurred_at < TIMESTAMP '{moment:%Y-%m-%dT%H:%M:%S}Z'"


def read_log(lake: Lake, version: int, before: datetime, *, only_likes: bool) -> InteractionLog:
    """Interactions of one table version that happened before a moment. Raises MissingTableError."""
    where = before_condition(before) + (" AND weight > 0" if only_likes else "")
    columns = ("user_id", "item_id", "weight", "to_unixtime(occurred_at) AS at")
    return log_from_arrow(lake.rows(INTERACTIONS, where, columns, version))


def log_from_arrow(rows: pa.Table) -> InteractionLog:
    """Arrow with user_id, item_id, weight, at (Unix seconds) -> InteractionLog."""
    user_ids, users_N = _encoded(rows["user_id"])
    item_ids, items_N = _encoded(rows["item_id"])
    weights_N = rows["weight"].to_numpy().astype(np.float32)
    return InteractionLog(user_ids, item_ids, users_N, items_N, weights_N, rows["at"].to_numpy().astype(np.int64))


def _encoded(column: pa.ChunkedArray) -> tuple[Strings, I32]:
    """Sorted distinct ids, and each row's index among them."""
    coded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    ids = np.array(coded.dictionary.to_pylist(), dtype=np.str_)
    order = np.argsort(ids)
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return ids[order], rank[coded.indices.to_numpy()] if len(ids) else np.empty(0, np.int32)


def examples(likes: InteractionLog, cut: datetime, seed: int) -> Examples:
    """What models train on; `likes` as read_log(..., before=cut, only_likes=True) gives them."""
    return Examples(likes.item_ids, likes.likes(np.ones(len(likes.users_N), np.bool_)), int(cut.timestamp()), seed)


@dataclass(frozen=True)
class Holdout:
    """T users who liked something new after the cut, all as of the cut; items in the order of `item_ids`."""

    user_ids: Strings
    item_ids: Strings
    histories: Histories
    seen: csr_array
    """T x I, what each touched before the cut."""
    targets: csr_array
    """T x I, what each liked after the cut and had not touched before."""

    @property
    def warm_T(self) -> np.typing.NDArray[np.bool_]:
        """Who liked anything before the cut."""
        return self.histories.lengths_B > 0

    def index_in(self, item_ids: Strings) -> I64:
        """For each of our items its index in a model's item order, -1 where the model does not know it."""
        known = positions(item_ids)
        return np.array([known.get(item, -1) for item in self.item_ids.tolist()], np.int64)


def holdout_after(everything: InteractionLog, cut: datetime) -> Holdout:
    """The days from the cut to the end of the log, for the users who have a target in them."""
    before_N = everything.times_N < int(cut.timestamp())
    seen = everything.matrix(before_N)
    liked = everything.matrix(~before_N & (everything.weights_N > 0))
    targets = csr_array(liked > liked.multiply(seen))
    users = np.flatnonzero(np.diff(targets.indptr))
    histories = everything.likes(before_N)
    return Holdout(everything.user_ids[users], everything.item_ids, histories.of(users), seen[users], targets[users])
