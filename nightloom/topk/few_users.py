"""Exact top-K of one user at a time, for a list that somebody waits for: the lists of topk(), from the same items.

topk() sorts the items and copies them as integers first, which pays where many users share it. Here a user costs one
float32 product with the item matrix, which stays where it is: a mapped file stays mapped. Only items whose float32
score could be among the best, by a bound of its error, are scored again in float64. Shapes: U users, I items,
D factors, K list length, N items that are scored again.
"""

from __future__ import annotations

import numpy as np

from nightloom.topk import F32, I32, I64, Bools, SeenItems, TopKError, check_factors, seen_items, topk

HALF_ULP = 2.0**-24
"""Largest relative error of a rounding to float32."""
TINY = 1e-35
"""Covers what is lost where a product is too small for float32."""


class FewUsers:
    """topk() of one item matrix for a few users. Raises TopKError for items that topk() refuses, too."""

    def __init__(self, items_ID: F32, bias_I: F32 | None) -> None:
        self.items_ID = items_ID
        self._bias_I = np.zeros(len(items_ID), np.float32) if bias_I is None else np.asarray(bias_I, np.float32)
        _, norm_I = check_factors(np.zeros((1, items_ID.shape[1]), np.float32), items_ID, self._bias_I)
        self._norm, self._bias = float(norm_I.max(initial=0)), float(np.abs(self._bias_I).max(initial=0))

    def __call__(
        self,
        users_UD: F32,
        items_ID: F32,
        k: int,
        *,
        bias_I: F32 | None = None,
        seen: SeenItems | None = None,
        allowed_I: Bools | None = None,
    ) -> tuple[I32, F32]:
        """As topk(), which it calls for any other items."""
        if items_ID is not self.items_ID:
            return topk(users_UD, items_ID, k, bias_I=bias_I, seen=seen, allowed_I=allowed_I)
        indptr, indices = seen_items(seen, len(users_UD))
        ids_UK, scores_UK = np.full((len(users_UD), k), -1, np.int32), np.full((len(users_UD), k), -np.inf, np.float32)
        for user, row_D in enumerate(np.asarray(users_UD, np.float32)):
            found = self._best(row_D, k, indices[indptr[user] : indptr[user + 1]], allowed_I)
            ids_UK[user, : len(found[0])], scores_UK[user, : len(found[0])] = found
        return ids_UK, scores_UK

    def _best(self, row_D: F32, k: int, seen_N: I64, allowed_I: Bools | None) -> tuple[I32, F32]:
        largest = float(np.linalg.norm(row_D.astype(np.float64))) * self._norm + self._bias
        if not largest < float(np.finfo(np.float32).max) / 2:
            raise TopKError(f"scores could reach {largest:.3g}; users, items and bias must be finite")
        # Not by BLAS: its threads wait in loops for each other, which takes processors from whoever else has work.
        rough_I = np.einsum("id,d->i", self.items_ID, row_D) + self._bias_I
        if allowed_I is not None:
            rough_I[~allowed_I] = -np.inf
        rough_I[seen_N] = -np.inf
        # A sum of D products and the bias, in any order, is off by less than (D + 1) half units of `largest`; so both
        # the k-th best and an item may be, and the exact scores are rounded once more.
        slack = 2 * (len(row_D) + 4) * HALF_ULP * largest + TINY
        lowest = np.partition(rough_I, -k)[-k] if k < len(rough_I) else -np.inf
        near_N = np.flatnonzero((rough_I >= lowest - slack) & (rough_I > -np.inf))
        exact_N = self.items_ID[near_N].astype(np.float64) @ row_D.astype(np.float64) + self._bias_I[near_N]
        scores_N = exact_N.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
        best_K = np.lexsort((near_N, -scores_N))[:k]
        return near_N[best_K].astype(np.int32), scores_N[best_K]
