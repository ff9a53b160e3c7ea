"""How good lists are: plain functions over hits, per user. The whole catalogue is ranked, later days judge.

Shapes: T users, K list length, I items. A hit matrix hits_TK says whether the item on place k was a target.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.base import I32, Model
from models.recommend import recommend
from training.examples import LaterDays

Bools = NDArray[np.bool_]
F64 = NDArray[np.float64]


def lists(model: Model, later: LaterDays, k: int) -> I32:
    """T x K: each user's best items as indices into later.item_ids, -1 where the model has no more."""
    index = later.index_in(model.item_ids)
    seen = csr_array(later.seen)
    columns = index[seen.indices]
    known = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(known)])[seen.indptr]
    shape = (seen.shape[0], len(model.item_ids))
    had = csr_array((seen.data[known], columns[known], indptr), shape=shape)
    ids_TK, _ = recommend(model, later.histories.renamed(index), k, seen=had)
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


def hit_rate(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """1 with a hit, 0 without one."""
    return np.asarray(hits_TK.any(axis=1), np.float64)


METRICS = {"ndcg": ndcg, "recall": recall, "mrr": mrr, "hit_rate": hit_rate}
"""Name -> function of hits_TK and targets_T (how many each user has, at least 1) -> T values from 0 to 1."""
