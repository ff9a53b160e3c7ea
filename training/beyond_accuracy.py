"""What lists are like, whatever was liked later: how much of the catalogue, how well known, how unequal.

Shapes: T users, K list length, I items. ids_TK holds items, -1 where a list is shorter. Popularity of an item is how
many users liked it before the cut.
"""

import numpy as np

from models.base import I32, I64
from training.ranking_metrics import F64


def coverage(ids_TK: I32, items: int) -> float:
    """Share of the catalogue that is in somebody's list."""
    return len(np.unique(ids_TK[ids_TK >= 0])) / items


def gini(ids_TK: I32, items: int) -> float:
    """How unequally the places go to the items of the catalogue: 0, all alike; near 1, few have them all."""
    places_I = np.sort(np.bincount(ids_TK[ids_TK >= 0], minlength=items))
    ranks_I = np.arange(1, items + 1)
    return float(2 * (ranks_I @ places_I) / (items * max(places_I.sum(), 1)) - (items + 1) / items)


def novelty(ids_TK: I32, popularity_I: I64, users: int) -> F64:
    """T: mean self-information of what is listed, -log2(popularity / users) bits (Zhou et al., 2010, PNAS 107:10).

    What nobody liked yet counts as liked by one. nan for an empty list.
    """
    return _mean_of_lists(ids_TK, -np.log2(np.maximum(popularity_I, 1) / max(users, 1)))


def average_popularity(ids_TK: I32, popularity_I: I64) -> F64:
    """T: mean popularity of what is listed, nan for an empty list."""
    return _mean_of_lists(ids_TK, popularity_I.astype(np.float64))


def _mean_of_lists(ids_TK: I32, values_I: F64) -> F64:
    there_TK = ids_TK >= 0
    sums_T = np.where(there_TK, values_I[ids_TK], 0).sum(axis=1)
    lengths_T = there_TK.sum(axis=1)
    return np.where(lengths_T > 0, sums_T / np.maximum(lengths_T, 1), np.nan)
