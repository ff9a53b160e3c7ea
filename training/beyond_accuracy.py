"""Beyond-accuracy metrics: overlap, coverage, Gini index, novelty and popularity of lists, whatever users liked later.

Shapes: T users, K list length, I items. ids_TK holds items, -1 where a list is shorter. The popularity of an item is
the number of users who liked it before the cut.
"""

import numpy as np

from models.base import I32, I64
from training.ranking_metrics import F64


def overlap(one_TK: I32, other_TK: I32) -> F64:
    """T: share of the longer list's items that both lists hold, 1 for two empty lists."""
    both_T = sum(((other_TK == one_TK[:, [place]]).any(axis=1) & (one_TK[:, place] >= 0)).astype(int)
                 for place in range(one_TK.shape[1]))  # fmt: skip
    longer_T = np.maximum((one_TK >= 0).sum(axis=1), (other_TK >= 0).sum(axis=1))
    return np.where(longer_T > 0, both_T / np.maximum(longer_T, 1), 1.0)


def coverage(ids_TK: I32, items: int) -> float:
    """Share of the catalogue (`items` items) that is in at least one list."""
    return len(np.unique(ids_TK[ids_TK >= 0])) / items


def gini(ids_TK: I32, items: int) -> float:
    """Gini index of how often each item of the catalogue is listed: 0 if all equally often, near 1 if few always."""
    counts_I = np.sort(np.bincount(ids_TK[ids_TK >= 0], minlength=items))
    ranks_I = np.arange(1, items + 1)
    return float(2 * (ranks_I @ counts_I) / (items * max(counts_I.sum(), 1)) - (items + 1) / items)


def novelty(ids_TK: I32, popularity_I: I64, users: int) -> F64:
    """T: mean self-information of the listed items, -log2(popularity / users) bits (Zhou et al., 2010, PNAS 107:10).

    An item that nobody liked yet counts as liked by one user. An empty list has nan.
    """
    return _list_means(ids_TK, -np.log2(np.maximum(popularity_I, 1) / max(users, 1)))


def average_popularity(ids_TK: I32, popularity_I: I64) -> F64:
    """T: mean popularity of the listed items, nan for an empty list."""
    return _list_means(ids_TK, popularity_I.astype(np.float64))


def _list_means(ids_TK: I32, values_I: F64) -> F64:
    """T: mean of each list's values, nan for an empty list."""
    listed_TK = ids_TK >= 0
    sums_T = np.where(listed_TK, values_I[ids_TK], 0).sum(axis=1)
    lengths_T = listed_TK.sum(axis=1)
    return np.where(lengths_T > 0, sums_T / np.maximum(lengths_T, 1), np.nan)
