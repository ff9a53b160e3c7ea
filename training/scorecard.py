"""The days that judge, and how one model does on them: by segment of users and items, and what its lists are like.

Shapes: T users, I items, K list length. A segment's values have a place for every user, nan for who is not in it.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from models.base import I32, I64, Model
from training.evaluate import F64, METRICS, Bools, hits, lists
from training.examples import LaterDays, Log, later_days
from training.variety import average_popularity, coverage, gini, novelty

ALL, NEW, WARM, HOT, TAIL = SEGMENTS = ("all", "new users", "warm users", "hot users", "tail items")
TAIL_SHARE = 0.2
"""Tail items are the least liked ones that together have this share of the likes."""


@dataclass(frozen=True)
class Exam:
    """Later days, and what was known before them."""

    later: LaterDays
    popularity_I: I64
    """How many users liked each item of later.item_ids before the cut."""
    users: int
    """How many users liked anything before the cut."""

    @cached_property
    def tail_I(self) -> Bools:
        """The least liked items that together have TAIL_SHARE of the likes before the cut, and those without any."""
        order = np.argsort(-self.popularity_I, kind="stable")
        before = np.cumsum(self.popularity_I[order]) - self.popularity_I[order]
        tail_I = np.empty(len(order), np.bool_)
        tail_I[order] = before >= (1 - TAIL_SHARE) * self.popularity_I.sum()
        return tail_I

    @cached_property
    def users_of(self) -> dict[str, Bools]:
        """T by segment: new users liked nothing before the cut; of the others, hot ones more than most of them."""
        likes_T, warm_T = self.later.histories.lengths_B, self.later.warm_T
        hot_T = warm_T & (likes_T > (np.median(likes_T[warm_T]) if warm_T.any() else 0))
        return {NEW: ~warm_T, WARM: warm_T & ~hot_T, HOT: hot_T}


def exam(everything: Log, cut: datetime) -> Exam:
    """The days from the cut to the end of the log."""
    liked = everything.matrix((everything.times_N < int(cut.timestamp())) & (everything.weights_N > 0))
    popularity_I = np.bincount(liked.indices, minlength=len(everything.item_ids))
    return Exam(later_days(everything, cut), popularity_I, int((np.diff(liked.indptr) > 0).sum()))


@dataclass(frozen=True)
class Scorecard:
    """One model on the days that judge."""

    lists_TK: I32
    per_user: dict[str, dict[str, F64]]
    """Metric -> segment -> T values, nan for users who are not in the segment."""
    variety: dict[str, float]
    """coverage, gini, novelty (bits), popularity (mean of what is listed), popularity_lift (over what was liked)."""

    def mean(self, metric: str, segment: str = ALL) -> float:
        """Mean over the segment's users, nan where there are none."""
        return _mean(self.per_user[metric][segment])


def _mean(values_T: F64) -> float:
    """Mean of what is no nan, nan where all is."""
    return float(np.nanmean(values_T)) if not np.isnan(values_T).all() else float("nan")


def scorecard(model: Model, judging: Exam, k: int) -> Scorecard:
    """Rank the whole catalogue for every user and look how many of the targets came up."""
    ids_TK = lists(model, judging.later, k)
    return Scorecard(ids_TK, _per_user(ids_TK, judging), variety(ids_TK, judging))


def _per_user(ids_TK: I32, judging: Exam) -> dict[str, dict[str, F64]]:
    everything, tail = judging.later.targets, _only(judging.later.targets, judging.tail_I)
    found: dict[str, dict[str, F64]] = {}
    for name, metric in METRICS.items():
        values_T = metric(hits(ids_TK, everything), np.diff(everything.indptr))
        users = {segment: np.where(inside_T, values_T, np.nan) for segment, inside_T in judging.users_of.items()}
        tails_T = np.diff(tail.indptr)
        of_tail_T = np.where(tails_T > 0, metric(hits(ids_TK, tail), np.maximum(tails_T, 1)), np.nan)
        found[name] = {ALL: values_T, **users, TAIL: of_tail_T}
    return found


def _only(targets: csr_array, chosen_I: Bools) -> csr_array:
    """Targets without the items that are not chosen."""
    kept = targets.copy()
    kept.data = kept.data & chosen_I[kept.indices]
    kept.eliminate_zeros()
    return kept


def variety(ids_TK: I32, judging: Exam) -> dict[str, float]:
    """What the lists are like; popularity_lift is above 0 where they are more popular than what users liked later."""
    items, popularity_I = len(judging.later.item_ids), judging.popularity_I
    targets = judging.later.targets
    wanted_T = np.add.reduceat(popularity_I[targets.indices], targets.indptr[:-1]) / np.diff(targets.indptr)
    listed, wanted = _mean(average_popularity(ids_TK, popularity_I)), float(wanted_T.mean())
    return {
        "coverage": coverage(ids_TK, items),
        "gini": gini(ids_TK, items),
        "novelty": _mean(novelty(ids_TK, popularity_I, judging.users)),
        "popularity": listed,
        "popularity_lift": listed / wanted - 1 if wanted else float("nan"),
    }
