"""A rank's likes -> its part of the steps of an epoch, the same for the same seed and ranks.

A step predicts some likes, each from the likes before it and the features of its user, among the items of the step's
other likes and some drawn uniformly from all liked items. Every rank cuts its likes into the same number of parts.
Shapes: G likes of a part, C items to choose from, U different items of a step, N places of a bag, I items.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.base import F32, I64, Histories
from models.features import Features
from models.two_tower import TwoTowerParams


@dataclass(frozen=True)
class Bag:
    """Weighted rows of a table, to be added up: those from starts[g] on belong to the g-th sum."""

    rows_N: torch.Tensor
    starts_G: torch.Tensor
    weights_N: torch.Tensor

    @classmethod
    def of(cls, rows_N: NDArray[np.integer], indptr: I64, weights_N: F32) -> Self:
        rows, starts = torch.from_numpy(rows_N.astype(np.int64)), torch.from_numpy(indptr[:-1])
        return cls(rows, starts, torch.from_numpy(weights_N.astype(np.float32)))

    @classmethod
    def of_features(cls, features: Features, buckets: int) -> Self:
        return cls.of(features.hashes % buckets, features.indptr, np.ones(len(features.hashes), np.float32))

    def sums(self, table: torch.Tensor, *, sparse: bool) -> torch.Tensor:
        """G x D, on the table's device; whether the table gets a sparse gradient."""
        rows, starts, weights = (each.to(table.device) for each in (self.rows_N, self.starts_G, self.weights_N))
        return torch.nn.functional.embedding_bag(
            rows, table, starts, mode="sum", sparse=sparse, per_sample_weights=weights
        )


@dataclass(frozen=True)
class Catalogue:
    """The items: which were liked, which row of the table of own parts is theirs, and their features."""

    liked: I64
    rows_I: I64
    """0 for a cold one."""
    features: Features

    @classmethod
    def of(cls, likes_I: NDArray[np.floating], features: Features | None) -> Self:
        liked = np.flatnonzero(likes_I)
        rows_I = np.zeros(len(likes_I), np.int64)
        rows_I[liked] = 1 + np.arange(len(liked))
        return cls(liked, rows_I, features or Features.none(len(likes_I)))


@dataclass(frozen=True)
class Batch:
    """One rank's likes of a step."""

    items_U: I64
    shown_U: F32
    """1 for an item with its own part, 0 for one by its features alone."""
    before: Bag
    """What each user liked before: rows are places in items_U, weights sum to 1."""
    features: Bag
    """Of each user."""
    choice_C: I64
    """Places in items_U: of the likes' items, then of the drawn negatives."""
    weights_G: F32
    """Sum to 1, so that the loss is a sum and not a mean, and the ranks' losses count equally."""


def batches(
    likes: Histories, catalogue: Catalogue, params: TwoTowerParams, steps: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Each of the rank's likes once."""
    for events in np.array_split(rng.permutation(len(likes.items)), steps):
        yield _batch(likes, events, catalogue, params, rng)


def _batch(
    likes: Histories, events_G: I64, catalogue: Catalogue, params: TwoTowerParams, rng: np.random.Generator
) -> Batch:
    users_G = np.searchsorted(likes.indptr, events_G, side="right") - 1
    before_N, indptr, shares_N = _before(likes, events_G, users_G, params, rng)
    drawn = catalogue.liked[rng.integers(0, len(catalogue.liked), params.negatives)]
    asked = np.concatenate([likes.items[events_G], drawn, likes.items[before_N]]).astype(np.int64)
    items_U, places = np.unique(asked, return_inverse=True)
    choices = len(events_G) + params.negatives
    worth_G = likes.weights[events_G]
    features = likes.user_features.of(users_G) if likes.user_features else Features.none(len(users_G))
    return Batch(
        items_U,
        (rng.random(len(items_U)) >= params.item_dropout).astype(np.float32),
        Bag.of(places[choices:], indptr, shares_N),
        Bag.of_features(features, params.buckets),
        places[:choices],
        worth_G / max(worth_G.sum(), 1e-12),
    )


def _before(
    likes: Histories, events_G: I64, users_G: I64, params: TwoTowerParams, rng: np.random.Generator
) -> tuple[I64, I64, F32]:
    """The events before each like, as (events, indptr, shares of the user's weight); none where they are dropped."""
    kept_G = rng.random(len(events_G)) >= params.history_dropout
    lengths_G = np.minimum(events_G - likes.indptr[users_G], params.length) * kept_G
    indptr = np.concatenate([[0], np.cumsum(lengths_G)]).astype(np.int64)
    events_N = np.repeat(events_G - lengths_G - indptr[:-1], lengths_G) + np.arange(indptr[-1])
    worth_N, rows_N = likes.weights[events_N], np.repeat(np.arange(len(events_G)), lengths_G)
    total_G = np.bincount(rows_N, worth_N, minlength=len(events_G))
    return events_N, indptr, np.asarray(worth_N / total_G[rows_N], np.float32)
