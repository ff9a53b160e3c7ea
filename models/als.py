"""Implicit ALS: likes as confidence-weighted ones, everything else as weak zeros -> user and item factors.

Minimises  sum_ui c_ui (p_ui - x_u . y_i)^2 + regularisation (sum_u |x_u|^2 + sum_i |y_i|^2),  p = 1 where there is a
like, c = 1 + confidence * weight (Hu, Koren, Volinsky 2008), by a few conjugate gradient steps per row and sweep,
started from the row's last solution (Takacs, Pilaszy, Tikk 2011).
Shapes: R rows solved for, D factors; `fixed_ND` are the N factors of the other side.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from models.base import (
    F32,
    I32,
    Examples,
    Histories,
    Params,
    Report,
    Strings,
    decay_weights,
    item_index,
    read,
    write,
)  # fmt: skip
from models.definition import Definition
from models.popularity import decayed_likes


class ALSParams(Params):
    factors: int = Field(32, ge=1)
    """Length of a vector."""
    sweeps: int = Field(8, ge=1)
    """Times that all users, then all items are solved for."""
    steps: int = Field(3, ge=1)
    """Conjugate gradient steps per row and sweep."""
    confidence: float = Field(30.0, gt=0)
    """How much more a like of weight 1 counts than a missing one."""
    regularisation: float = Field(30.0, gt=0)
    """Pull towards zero; larger for few data."""
    half_life_days: float = Field(15.0, gt=0)
    """In training, after this many days a like's extra confidence is half: the items' factors follow the time."""
    popularity: float = Field(0.6, ge=0)
    """How much the logarithm of what is popular adds to a score; 0 leaves the factors alone."""
    popularity_half_life_days: float = Field(10.0, gt=0)
    """After this many days a like counts half in what is popular."""


HALF_STEPS = 16
"""Conjugate gradient steps of a half-step that starts from nothing: enough for the minimum."""


@dataclass(frozen=True)
class ALS:
    """Implicit matrix factorisation by alternating least squares (Hu, Koren, Volinsky 2008).

    Trains in sweeps over the likes. Good for millions of users and items.

    Users: hot and warm ones by exact fold-in of their history, also when they came after the training; a cold one gets
    what is popular. Items: hot and warm ones by their factors, also when they came after the training; a cold one is
    not in the model.
    """

    name: ClassVar[str] = "als"
    params: ALSParams
    item_ids: Strings
    items_ID: F32
    gram_DD: F32
    """Y'Y + regularisation: what each fold-in starts from."""
    bias_I: F32

    @classmethod
    def fit(cls, examples: Examples, params: ALSParams, report: Report) -> Self:
        """Reports `loss`: the objective divided by the number of user-item pairs."""
        from models.als_solver import objective, sweep  # numba: only those who train wait for it

        weights = {"confidence": params.confidence, "regularisation": params.regularisation}
        events = examples.histories
        worth_N = decay_weights(events.weights, events.times, examples.cut, params.half_life_days)
        likes = events.matrix(len(examples.item_ids), worth_N)
        liked_by = likes.T.tocsr()
        rng = np.random.default_rng(examples.seed)
        users_UD, items_ID = (rng.normal(0, 0.1, (n, params.factors)).astype(np.float32) for n in likes.shape)
        for number in range(1, params.sweeps + 1):
            sweep(likes, users_UD, items_ID, steps=params.steps, **weights)
            sweep(liked_by, items_ID, users_UD, steps=params.steps, **weights)
            report(number, {"loss": objective(likes, users_UD, items_ID, **weights)})
        return cls._of(params, examples, items_ID)

    @classmethod
    def _of(cls, params: ALSParams, examples: Examples, items_ID: F32) -> Self:
        from models.als_solver import gram

        gram_DD = gram(items_ID) + params.regularisation * np.eye(params.factors, dtype=np.float32)
        popular_I = np.log1p(decayed_likes(examples, params.popularity_half_life_days))
        return cls(params, examples.item_ids, items_ID, gram_DD, np.float32(params.popularity) * popular_I)

    def extended(self, examples: Examples) -> Self:
        """A half-step: users by the known items, then the new items by these users, as a sweep of the training does."""
        from models.als_solver import sweep

        params, events = self.params, examples.histories
        index = item_index(examples.item_ids, self.item_ids)
        new = np.flatnonzero(index < 0)
        items_ID = np.where(index[:, None] < 0, np.float32(0), self.items_ID[index])
        weights = {"confidence": params.confidence, "regularisation": params.regularisation}
        worth_N = decay_weights(events.weights, events.times, examples.cut, params.half_life_days)
        likes = events.matrix(len(index), worth_N)
        users_UD = np.zeros((len(events), params.factors), np.float32)
        sweep(likes, users_UD, items_ID, steps=HALF_STEPS, **weights)  # a new item is zero yet, and says nothing
        new_ND = np.zeros((len(new), params.factors), np.float32)
        sweep(likes.T.tocsr()[new], new_ND, users_UD, steps=HALF_STEPS, **weights)
        items_ID[new] = new_ND
        return self._of(params, examples, items_ID)

    def encode(self, histories: Histories) -> F32:
        """The exact minimum for each user with the items held fixed."""
        merged = histories.matrix(len(self.item_ids))
        users_BD = np.zeros((len(histories), self.items_ID.shape[1]), np.float32)
        for user in np.flatnonzero(np.diff(merged.indptr)):
            own = slice(merged.indptr[user], merged.indptr[user + 1])
            system_DD, liked_ND, confidence_N = self._system(merged.indices[own], merged.data[own])
            users_BD[user] = np.linalg.solve(system_DD, confidence_N @ liked_ND)
        return users_BD

    def contributions(self, history: Histories, item: int) -> F32:
        """Exact: the score less the bias is a sum over the likes, c_j y_item' A^-1 y_j; repeats share by weight."""
        merged = history.matrix(len(self.item_ids))
        if not merged.nnz:
            return np.empty(0, np.float32)
        system_DD, liked_ND, confidence_N = self._system(merged.indices, merged.data)
        parts_N = confidence_N * (liked_ND @ np.linalg.solve(system_DD, self.items_ID[item]))
        order = np.argsort(merged.indices)
        found = order[np.searchsorted(merged.indices, history.items, sorter=order)]
        return np.asarray(parts_N[found] * history.weights / merged.data[found], np.float32)

    def _system(self, liked: I32, weights: F32) -> tuple[F32, F32, F32]:
        """One user's normal equations: A = Y'Y + regularisation + Y_u' (C - 1) Y_u, with Y_u and C."""
        liked_ND = self.items_ID[liked]
        extra_N = np.float32(self.params.confidence) * weights
        system_DD = np.asarray(self.gram_DD + (liked_ND.T * extra_N) @ liked_ND, np.float32)
        return system_DD, liked_ND, np.asarray(1 + extra_N, np.float32)

    def save(self, folder: Path) -> None:
        write(folder, self, items=self.items_ID, gram=self.gram_DD, bias=self.bias_I)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        return cls(ALSParams(**params), arrays["item_ids"], arrays["items"], arrays["gram"], arrays["bias"])


MODEL = Definition(ALS, ALSParams, example_params={"factors": 2, "regularisation": 0.1, "popularity": 0.1})
