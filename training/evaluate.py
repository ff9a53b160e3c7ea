"""How good lists are: plain functions over hits, per user. The whole catalogue is ranked, later days judge.

Shapes: T users, K list length, I items. A hit matrix hits_TK says whether the item on place k was a target.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nightloom.topk import topk
from training.examples import LaterDays
from training.models.base import I32, Model

Bools = NDArray[np.bool_]
F64 = NDArray[np.float64]


def lists(model: Model, later: LaterDays, k: int) -> I32:
    """T x K: each user's best items as indices into later.item_ids, -1 where the model has no more."""
    index = later.index_in(model.item_ids)
    seen = csr_array(later.seen)
    columns = index[seen.indices]
    known = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(known)])[seen.indptr]
    users_TD = model.encode(later.histories.renamed(index))
    ids_TK, _ = topk(users_TD, model.items_ID, k, bias_I=model.bias_I, seen=(indptr, columns[known]))
    back = np.full(len(model.item_ids) + 1, -1, np.int32)  # its last place is where id -1 lands
    back[index[index >= 0]] = np.flatnonzero(index >= 0)
    found: I32 = back[ids_TK]
    return found


def hits(ids_TK: I32, targets: csr_array) -> Bools:
    """Whether each listed item is one of its user's targets; -1 is none."""
    rows = np.repeat(np.arange(ids_TK.shape[0]), ids_TK.shape[1])
    found = np.zeros(ids_TK.shape, np.bool_)
    listed = ids_TK.ravel() >= 0
    found.ravel()[listed] = np.asarray(targets[rows[listed], ids_TK.ravel()[listed]]).ravel()
    return found


def recall(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """Share of a user's targets that are in the list."""
    return np.asarray(hits_TK.sum(axis=1) / targets_T, np.float64)


def ndcg(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """Hits discounted by 1 / log2(place + 1), over that of the best possible list: min(K, targets) hits in front."""
    discounts_K = 1 / np.log2(np.arange(hits_TK.shape[1]) + 2)
    best = np.concatenate([[0], np.cumsum(discounts_K)])[np.minimum(targets_T, hits_TK.shape[1])]
    return np.asarray(hits_TK @ discounts_K / best, np.float64)


def mrr(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """1 / place of the first hit, 0 without one."""
    return np.where(hits_TK.any(axis=1), 1 / (hits_TK.argmax(axis=1) + 1), 0.0)


METRICS = {"ndcg": ndcg, "recall": recall, "mrr": mrr}


def coverage(ids_TK: I32, items: int) -> float:
    """Share of the catalogue that is in somebody's list."""
    return len(np.unique(ids_TK[ids_TK >= 0])) / items


@dataclass(frozen=True)
class Interval:
    low: float
    mean: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def paired_interval(gain_T: F64, *, seed: int, draws: int = 2000, level: float = 0.95) -> Interval:
    """Bootstrap interval of the mean gain per user: users are drawn again with replacement, `draws` times."""
    rng = np.random.default_rng(seed)
    means = np.array([gain_T[rng.integers(0, len(gain_T), len(gain_T))].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(gain_T.mean()), float(high))


@dataclass(frozen=True)
class Scorecard:
    """One model on the later days: each metric per user, and the catalogue's coverage."""

    per_user: dict[str, F64]
    coverage: float

    def means(self, chosen_T: Bools | None = None) -> dict[str, float]:
        """Mean of each metric over the chosen users, nan where none is chosen."""
        chosen = slice(None) if chosen_T is None else chosen_T
        return {
            name: float(values[chosen].mean()) if values[chosen].size else float("nan")
            for name, values in self.per_user.items()
        }


def scorecard(model: Model, later: LaterDays, k: int) -> Scorecard:
    """Rank the whole catalogue for every user and look how many of the targets came up."""
    ids_TK = lists(model, later, k)
    hits_TK, targets_T = hits(ids_TK, later.targets), np.diff(later.targets.indptr)
    return Scorecard(
        {name: metric(hits_TK, targets_T) for name, metric in METRICS.items()}, coverage(ids_TK, len(later.item_ids))
    )
