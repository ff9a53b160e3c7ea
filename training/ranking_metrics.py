"""Ranking metrics per user: recall, NDCG, MRR and hit rate of lists drawn from the whole catalogue.

The catalogue is ranked whole: metrics on sampled negatives can order models differently (Krichene and Rendle, 2020,
KDD). Shapes: T users, K list length, I items. hits_TK says whether the item on place k was a target.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.base import I32, Model
from models.recommend import recommend
from training.dataset import Holdout

Bools = NDArray[np.bool_]
F64 = NDArray[np.float64]


def ranked_lists(model: Model, holdout: Holdout, k: int) -> I32:
    """T x K: each user's best unseen items as indices into holdout.item_ids, -1 where the model has no more."""
    index = holdout.index_in(model.item_ids)
    seen = csr_array(holdout.seen)
    columns = index[seen.indices]
    known = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(known)])[seen.indptr]
    shape = (seen.shape[0], len(model.item_ids))
    seen_by_model = csr_array((seen.data[known], columns[known], indptr), shape=shape)
    ids_TK, _ = recommend(model, holdout.histories.reindexed(index), k, seen=seen_by_model)
    holdout_index = np.full(len(model.item_ids) + 1, -1, np.int32)  # id -1 reads its last place
    holdout_index[index[index >= 0]] = np.flatnonzero(index >= 0)
    lists: I32 = holdout_index[ids_TK]
    return lists


def hits(ids_TK: I32, targets: csr_array) -> Bools:
    """T x K: whether each listed item is one of its user's targets (T x I); False for id -1."""
    rows = np.repeat(np.arange(ids_TK.shape[0]), ids_TK.shape[1])
    hits_TK = np.zeros(ids_TK.shape, np.bool_)
    listed = ids_TK.ravel() >= 0
    hits_TK.ravel()[listed] = np.asarray(targets[rows[listed], ids_TK.ravel()[listed]]).ravel()
    return hits_TK


def recall(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """T: share of a user's targets that are in the list."""
    return np.asarray(hits_TK.sum(axis=1) / targets_T, np.float64)


def ndcg(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """T: normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002, ACM TOIS).

    A hit on place p counts 1 / log2(p + 1). The sum is divided by that of the best possible list, which begins with
    min(K, targets) hits.
    """
    discounts_K = 1 / np.log2(np.arange(hits_TK.shape[1]) + 2)
    best = np.concatenate([[0], np.cumsum(discounts_K)])[np.minimum(targets_T, hits_TK.shape[1])]
    return np.asarray(hits_TK @ discounts_K / best, np.float64)


def mrr(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """T: reciprocal rank, 1 / place of the first hit; 0 without a hit."""
    return np.where(hits_TK.any(axis=1), 1 / (hits_TK.argmax(axis=1) + 1), 0.0)


def hit_rate(hits_TK: Bools, targets_T: NDArray[np.integer]) -> F64:
    """T: 1 for a list with a hit, 0 for a list without one."""
    return np.asarray(hits_TK.any(axis=1), np.float64)


METRICS = {"ndcg": ndcg, "recall": recall, "mrr": mrr, "hit_rate": hit_rate}
"""Name -> function of hits_TK and targets_T (number of targets of each user, at least 1) -> T values from 0 to 1."""
