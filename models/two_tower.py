"""Two towers: an item's vector is its own part plus its features', a user's that of the last likes plus features'.

An item that nobody liked yet has the vector of its features, and so has a user without history. Trained by sampled
softmax on the next like, corrected for how often each item is sampled (Yi et al. 2019), with parts of the towers
dropped at random, so that features learn to stand alone (Volkovs, Yu, Poutanen 2017).
Shapes: B users, I items, D factors, W buckets of features.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from models.base import F32, Examples, Histories, Params, Strings, item_index, read, write
from models.definition import Definition
from models.popularity import decayed_likes
from nightloom.errors import DataError


class TwoTowerParams(Params):
    factors: int = Field(32, ge=1)
    """Length of a vector."""
    length: int = Field(50, ge=1)
    """Likes of a user that are looked at, the last ones."""
    epochs: int = Field(5, ge=1)
    """Times that every like is predicted."""
    batch: int = Field(1024, ge=1)
    """Likes per step, over all ranks together; for each of them the others of its rank are negatives."""
    negatives: int = Field(512, ge=0)
    """Negatives besides those of the batch, drawn uniformly from all liked items, on each rank."""
    learning_rate: float = Field(0.05, gt=0)
    """Of the tables (Adagrad); it falls linearly to zero."""
    mixing_learning_rate: float = Field(0.003, gt=0)
    """Of the few other weights (Adam); it falls linearly to zero."""
    item_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of items that go without their own part in a step, by their features alone."""
    history_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of users that go without their likes in a step, by their features alone."""
    buckets: int = Field(1 << 16, ge=1)
    """Places that features are hashed to; two features in one place count as one."""
    popularity_half_life_days: float = Field(10.0, gt=0)
    """After this many days a like counts half in what is popular."""


@dataclass(frozen=True)
class TwoTower:
    """Vectors of users from their last likes and features, of items from an own part and features.

    Trains in epochs, on many ranks. Good for new items and new users: docs/two-tower.md.

    Users: hot and warm ones by their last likes and features, also when they came after the training; a cold one by
    their features, and without any they get what is popular. Items: hot and warm ones by their own part and features; a
    cold one by its features, at the popularity of an item without likes, also when it came after the training.
    """

    name: ClassVar[str] = "two_tower"
    params: TwoTowerParams
    item_ids: Strings
    items_ID: F32
    bias_I: F32
    mix_DD: F32
    """From the mean of the liked items' vectors to a user's vector."""
    user_features_WD: F32
    item_features_WD: F32 | None = None
    """None in models that were trained before 2026-12: these take no new items."""
    popularity_weight: float = 1.0
    """What the logarithm of an item's popularity is multiplied by in a score."""

    def extended(self, examples: Examples) -> Self:
        """New items by their features alone. Raises DataError where the model was saved without what features say."""
        if self.item_features_WD is None or examples.item_features is None:
            raise DataError("two_tower: this version takes no new items; the next training brings one that does")
        index = item_index(examples.item_ids, self.item_ids)
        features = examples.item_features.matrix(self.params.buckets) @ self.item_features_WD
        items_ID = np.where(index[:, None] < 0, features, self.items_ID[index]).astype(np.float32)
        popular_I = decayed_likes(examples, self.params.popularity_half_life_days)
        bias_I = np.float32(self.popularity_weight) * log_popularity(popular_I)
        return replace(self, item_ids=examples.item_ids, items_ID=items_ID, bias_I=bias_I)

    def encode(self, histories: Histories) -> F32:
        users_BD = self._recent(histories) @ self.items_ID @ self.mix_DD
        if histories.user_features:
            users_BD += histories.user_features.matrix(self.params.buckets) @ self.user_features_WD
        return np.asarray(users_BD, np.float32)

    def _recent(self, histories: Histories) -> csr_array:
        """B x I: the last likes' weights, which sum to 1."""
        weights_N = recent_weights(histories, self.params.length)
        return histories.matrix(len(self.item_ids), weights_N)

    def contributions(self, history: Histories, item: int) -> F32:
        """Exact: a user's vector is a sum over the likes, and over the features."""
        weights_N = recent_weights(history, self.params.length)
        vectors_ND = self.items_ID[history.items] @ self.mix_DD
        return np.asarray(weights_N * (vectors_ND @ self.items_ID[item]), np.float32)

    def save(self, folder: Path) -> None:
        arrays: dict[str, NDArray[Any]] = {
            "items": self.items_ID,
            "bias": self.bias_I,
            "mix": self.mix_DD,
            "user_features": self.user_features_WD,
            "popularity_weight": np.array(self.popularity_weight, np.float32),
        }
        if self.item_features_WD is not None:
            arrays["item_features"] = self.item_features_WD
        write(folder, self, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        return cls(
            TwoTowerParams(**params),
            arrays["item_ids"],
            arrays["items"],
            arrays["bias"],
            arrays["mix"],
            arrays["user_features"],
            arrays.get("item_features"),
            float(arrays.get("popularity_weight", 1.0)),
        )


SMOOTH = 1.0


def log_popularity(likes_I: NDArray[np.floating]) -> F32:
    """Logarithm of the popularity, with mean zero."""
    logarithms_I = np.log(likes_I + SMOOTH)
    return np.asarray(logarithms_I - logarithms_I.mean(), np.float32)


def recent_weights(histories: Histories, length: int) -> F32:
    """Each event's part of the weight of its user's last `length` events; 0 for the older ones."""
    age_N = np.repeat(histories.indptr[1:], histories.lengths_B) - np.arange(len(histories.items))
    worth_N = histories.weights * (age_N <= length)
    total_B = np.bincount(histories.rows_N, worth_N, minlength=len(histories))
    return np.asarray(worth_N / total_B[histories.rows_N], np.float32)


MODEL = Definition(
    TwoTower,
    TwoTowerParams,
    user_features=True,
    item_features=True,
    distributed=True,
    example_params={"factors": 16, "epochs": 30, "batch": 40, "negatives": 4, "buckets": 8, "learning_rate": 0.1},
)
