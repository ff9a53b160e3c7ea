"""Two towers: an item's vector is its own part plus those of its words, a user's that of the last likes plus words.

An item that nobody liked yet has the vector that its words give it, and a user without history the one that theirs do.
Trained by sampled softmax on the next like, corrected for how often each item is sampled (Yi et al. 2019), with parts
of the towers hidden at random, so that words learn to stand alone (Volkovs, Yu, Poutanen 2017).
Shapes: B users, I items, D factors, W buckets of words.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array

from models.base import F32, Histories, Params, Strings, read, write
from models.definition import Definition


class TwoTowerParams(Params):
    factors: int = Field(32, ge=1)
    """Length of a vector."""
    length: int = Field(50, ge=1)
    """Likes of a user that are looked at, the last ones."""
    epochs: int = Field(5, ge=1)
    """Times that every like is foretold."""
    batch: int = Field(1024, ge=1)
    """Likes per step, over all ranks together; each one's item is also what the others of its rank were not after."""
    negatives: int = Field(512, ge=0)
    """Items beside those of the batch, drawn alike from all that somebody liked, on each rank."""
    rate: float = Field(0.05, gt=0)
    """Learning rate of the tables (Adagrad), falling in a line to zero."""
    mixing_rate: float = Field(0.003, gt=0)
    """Peak learning rate of the few other weights (Adam), falling likewise."""
    hidden_items: float = Field(0.2, ge=0, lt=1)
    """Share of items that go without their own part in a step, by their words alone."""
    hidden_histories: float = Field(0.1, ge=0, lt=1)
    """Share of users that go without their likes in a step, by their words alone."""
    buckets: int = Field(1 << 16, ge=1)
    """Places that words are hashed to; two words in one place count as one."""
    popularity_half_life_days: float = Field(10.0, gt=0)
    """After this many days a like counts half in what is popular."""


@dataclass(frozen=True)
class TwoTower:
    """Users: hot and warm ones by their last likes and their words, also when they came after the training; a cold one
    by their words, and without any by what is popular alone. Items: hot and warm ones by their own part and their
    words; a cold one by its words, at the popularity of one without likes.
    """

    name: ClassVar[str] = "two_tower"
    params: TwoTowerParams
    item_ids: Strings
    items_ID: F32
    bias_I: F32
    mix_DD: F32
    """From the mean of the liked items' vectors to a user's vector."""
    user_words_WD: F32

    def encode(self, histories: Histories) -> F32:
        users_BD = self._recent(histories) @ self.items_ID @ self.mix_DD
        if histories.traits:
            users_BD += histories.traits.matrix(self.params.buckets) @ self.user_words_WD
        return np.asarray(users_BD, np.float32)

    def _recent(self, histories: Histories) -> csr_array:
        """B x I: the last likes' weights, which sum to 1."""
        weights_N = shares_of_the_last(histories, self.params.length)
        return histories.matrix(len(self.item_ids), weights_N)

    def contributions(self, history: Histories, item: int) -> F32:
        """Exact: a user's vector is a sum over the likes, and over the words."""
        weights_N = shares_of_the_last(history, self.params.length)
        vectors_ND = self.items_ID[history.items] @ self.mix_DD
        return np.asarray(weights_N * (vectors_ND @ self.items_ID[item]), np.float32)

    def save(self, folder: Path) -> None:
        arrays = {"items": self.items_ID, "bias": self.bias_I, "mix": self.mix_DD, "user_words": self.user_words_WD}
        write(folder, self, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        names = ("item_ids", "items", "bias", "mix", "user_words")
        return cls(TwoTowerParams(**params), *(arrays[name] for name in names))


def shares_of_the_last(histories: Histories, length: int) -> F32:
    """Each event's part of the weight of its user's last `length` events; 0 for the older ones."""
    age_N = np.repeat(histories.indptr[1:], histories.lengths_B) - np.arange(len(histories.items))
    worth_N = histories.weights * (age_N <= length)
    total_B = np.bincount(histories.rows_N, worth_N, minlength=len(histories))
    return np.asarray(worth_N / total_B[histories.rows_N], np.float32)


MODEL = Definition(TwoTower, TwoTowerParams, user_attributes=True, item_attributes=True, distributed=True)
