"""Popularity with decay: likes, each halved every `half_life_days` -> one score per item, for every user the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from models.base import F32, Examples, Histories, Params, Report, Strings, decay_weights, no_report, read, write
from models.definition import Definition


class PopularityParams(Params):
    half_life_days: float = Field(15.0, gt=0)
    """After this many days a like counts half."""


def decayed_likes(examples: Examples, half_life_days: float) -> F32:
    """Likes of each item as of the cut, I numbers: a like is halved every `half_life_days`."""
    likes = examples.histories
    worth_N = decay_weights(likes.weights, likes.times, examples.cut, half_life_days)
    return np.bincount(likes.items, worth_N, minlength=len(examples.item_ids)).astype(np.float32)


@dataclass(frozen=True)
class Popularity:
    """Popular items: likes, each of which counts half after `half_life_days`.

    Trains in one pass. It is the bar that every other model must clear: gate 2 compares each challenger with it.

    Users: hot, warm and cold ones get the same ranking. Items: the most liked first; a cold one is not in the model.
    """

    name: ClassVar[str] = "popularity"
    params: PopularityParams
    item_ids: Strings
    items_ID: F32
    bias_I: None = None

    @classmethod
    def fit(cls, examples: Examples, params: PopularityParams, report: Report) -> Self:
        """One pass; nothing to report."""
        return cls(params, examples.item_ids, decayed_likes(examples, params.half_life_days)[:, None])

    def extended(self, examples: Examples) -> Self:
        """What is popular now."""
        return self.fit(examples, self.params, no_report)

    def encode(self, histories: Histories) -> F32:
        return np.ones((len(histories), 1), np.float32)

    def contributions(self, history: Histories, item: int) -> F32:
        """Zeros: a user's own history moves nothing here."""
        return np.zeros(len(history.items), np.float32)

    def save(self, folder: Path) -> None:
        write(folder, self, items=self.items_ID)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        return cls(PopularityParams(**params), arrays["item_ids"], arrays["items"])


MODEL = Definition(Popularity, PopularityParams, uses_history=False)
