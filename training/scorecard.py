"""The evaluation set (users, their history, their later likes), and one model's metrics on it by segment.

Segments group users by how much they liked before the cut, and likes by how popular the item was: where a model gains
and where it loses shows only there. Shapes: T users, I items, K list length. The values of a segment have a place for
every user: nan for users outside the segment.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from models.base import I32, I64, Model
from training.beyond_accuracy import average_popularity, coverage, gini, novelty
from training.dataset import Holdout, InteractionLog, holdout_after
from training.ranking_metrics import F64, METRICS, Bools, hits, ranked_lists

ALL, NEW, WARM, HOT, TAIL = SEGMENTS = ("all", "new users", "warm users", "hot users", "tail items")
TAIL_SHARE = 0.2
"""Tail items are the least liked ones that together have this share of the likes."""


@dataclass(frozen=True)
class EvaluationSet:
    """The holdout, and popularity as of its cut."""

    holdout: Holdout
    popularity_I: I64
    """Users who liked each item of holdout.item_ids before the cut."""
    user_count: int
    """Users who liked anything before the cut."""

    @cached_property
    def tail_I(self) -> Bools:
        """The least liked items that together have TAIL_SHARE of the likes before the cut, and those without any."""
        order = np.argsort(-self.popularity_I, kind="stable")
        likes_of_more_popular = np.cumsum(self.popularity_I[order]) - self.popularity_I[order]
        tail_I = np.empty(len(order), np.bool_)
        tail_I[order] = likes_of_more_popular >= (1 - TAIL_SHARE) * self.popularity_I.sum()
        return tail_I

    @cached_property
    def users_by_segment(self) -> dict[str, Bools]:
        """T by segment. New users liked nothing before the cut. Hot users liked more than the median of the others."""
        likes_T, warm_T = self.holdout.histories.lengths_B, self.holdout.warm_T
        hot_T = warm_T & (likes_T > (np.median(likes_T[warm_T]) if warm_T.any() else 0))
        return {NEW: ~warm_T, WARM: warm_T & ~hot_T, HOT: hot_T}


def evaluation_set(log: InteractionLog, cut: datetime) -> EvaluationSet:
    """The evaluation set of the days from the cut to the end of the log."""
    liked = log.matrix((log.times_N < int(cut.timestamp())) & (log.weights_N > 0))
    popularity_I = np.bincount(liked.indices, minlength=len(log.item_ids))
    return EvaluationSet(holdout_after(log, cut), popularity_I, int((np.diff(liked.indptr) > 0).sum()))


@dataclass(frozen=True)
class Scorecard:
    """One model's lists and metrics on an evaluation set."""

    lists_TK: I32
    per_user: dict[str, dict[str, F64]]
    """Metric -> segment -> T values, nan for users who are not in the segment."""
    beyond_accuracy: dict[str, float]
    """coverage, gini, novelty (bits), popularity (mean of what is listed), popularity_lift (over what was liked)."""

    def mean(self, metric: str, segment: str = ALL) -> float:
        """Mean over the segment's users, nan for an empty segment."""
        return _nan_mean(self.per_user[metric][segment])


def _nan_mean(values_T: F64) -> float:
    """Mean of the values that are not nan; nan, without numpy's warning, where there is none."""
    return float(np.nanmean(values_T)) if not np.isnan(values_T).all() else float("nan")


def scorecard(model: Model, evaluation: EvaluationSet, k: int) -> Scorecard:
    """Rank the whole catalogue for every user, and compare the first k items with the user's targets."""
    ids_TK = ranked_lists(model, evaluation.holdout, k)
    return Scorecard(ids_TK, _metrics_by_segment(ids_TK, evaluation), beyond_accuracy(ids_TK, evaluation))


def _metrics_by_segment(ids_TK: I32, evaluation: EvaluationSet) -> dict[str, dict[str, F64]]:
    """Metric -> segment -> T values. In the tail segment only targets in the tail count."""
    targets = evaluation.holdout.targets
    tail_targets = _restrict(targets, evaluation.tail_I)
    tail_counts_T = np.diff(tail_targets.indptr)
    values: dict[str, dict[str, F64]] = {}
    for name, metric in METRICS.items():
        all_T = metric(hits(ids_TK, targets), np.diff(targets.indptr))
        tail_T = metric(hits(ids_TK, tail_targets), np.maximum(tail_counts_T, 1))
        values[name] = {
            ALL: all_T,
            **{segment: np.where(users_T, all_T, np.nan) for segment, users_T in evaluation.users_by_segment.items()},
            TAIL: np.where(tail_counts_T > 0, tail_T, np.nan),
        }
    return values


def _restrict(targets: csr_array, chosen_I: Bools) -> csr_array:
    """The targets among the chosen items."""
    restricted = targets.copy()
    restricted.data = restricted.data & chosen_I[restricted.indices]
    restricted.eliminate_zeros()
    return restricted


def beyond_accuracy(ids_TK: I32, evaluation: EvaluationSet) -> dict[str, float]:
    """Metrics of the lists themselves; popularity_lift > 0: listed items are more popular than what users liked."""
    items, popularity_I = len(evaluation.holdout.item_ids), evaluation.popularity_I
    targets = evaluation.holdout.targets
    liked_T = np.add.reduceat(popularity_I[targets.indices], targets.indptr[:-1]) / np.diff(targets.indptr)
    listed_mean, liked_mean = _nan_mean(average_popularity(ids_TK, popularity_I)), float(liked_T.mean())
    return {
        "coverage": coverage(ids_TK, items),
        "gini": gini(ids_TK, items),
        "novelty": _nan_mean(novelty(ids_TK, popularity_I, evaluation.user_count)),
        "popularity": listed_mean,
        "popularity_lift": listed_mean / liked_mean - 1 if liked_mean else float("nan"),
    }
