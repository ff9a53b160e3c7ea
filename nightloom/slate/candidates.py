"""A block of users, and the items that they may be shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from nightloom.slate.arrays import F32, F64, I32, Bools
from nightloom.slate.kernel import drop_repeated
from nightloom.slate.plan import attribute_values


@dataclass(frozen=True)
class UserBlock:
    """A block of users."""

    ids: pa.Array
    attributes: pa.ListArray
    """attribute=value."""
    seen: csr_array
    """B x A, stored where a user has touched an item."""

    def with_values(self, wanted: Iterable[tuple[str, str]]) -> Bools:
        """B: which users have all these (attribute, value)."""
        has_B = np.ones(len(self.ids), np.bool_)
        for name, value in wanted:
            equal = pc.fill_null(pc.equal(attribute_values(self.attributes, name), value), False)
            has_B &= equal.to_numpy(zero_copy_only=False)
        return has_B


@dataclass(frozen=True)
class Candidates:
    """What a block of users may be shown, the left ones first."""

    items: I32
    """B x X, -1: nothing."""
    scores: F32
    """NaN where the model does not know the item, or did not score it."""
    free: Bools
    """X: whether it may take any place; others just one that is reserved for them."""

    def append(self, found: tuple[I32, F32], free: bool = False) -> Candidates:
        """With more on the right."""
        wider = np.concatenate([self.free, np.full(found[0].shape[1], free)])
        return Candidates(np.hstack([self.items, found[0]]), np.hstack([self.scores, found[1]]), wider)

    def append_all(self, found: Iterable[tuple[I32, F32]], items: int) -> Candidates:
        """With more on the right, each item once; there are so many items."""
        wider = self
        for each in found:
            wider = wider.append(each)
        return replace(wider, items=drop_repeated(wider.items, items))


@dataclass(frozen=True)
class Scale:
    """What relevance means for each user."""

    low_B: F64
    """The last candidate's score; 0 where there is none."""
    span_B: F64
    """How far the best one is above it."""

    @classmethod
    def of(cls, candidates: Candidates) -> Scale:
        """The scale of these candidates' scores."""
        there = candidates.items >= 0
        low_B = np.where(there, candidates.scores, np.inf).min(axis=1, initial=np.inf).astype(np.float64)
        high_B = np.where(there, candidates.scores, -np.inf).max(axis=1, initial=-np.inf).astype(np.float64)
        some_B = np.isfinite(low_B)
        return cls(np.where(some_B, low_B, 0), np.where(some_B, high_B - np.where(some_B, low_B, 0), 0))

    def relevance(self, found: Candidates) -> tuple[F64, F32]:
        """B x X: relevance, and scores, with the last candidate's score where there is none.

        An item without a score comes after all others.
        """
        low_B1, span_B1 = self.low_B[:, None], self.span_B[:, None]
        none_BX = np.isnan(found.scores) | (found.items < 0)
        scores_BX = np.where(none_BX, low_B1, found.scores)
        relevance_BX = np.divide(scores_BX - low_B1, span_B1, out=np.zeros_like(scores_BX), where=span_B1 > 0)
        last_B1 = relevance_BX.min(axis=1, keepdims=True, initial=0)
        return np.where(none_BX, last_B1 - 1, relevance_BX), scores_BX.astype(np.float32)
