"""Popularity by segment: what is popular, moved by what users with the same words like more, or less, than everybody.

The lift of an item by a word is log (n + a) / (e + a): n likes of it by the users with that word, e where these had
everybody's taste, and `prior` a, so that few likes say little (the shrunken ratio of DuMouchel 1999, with one gamma
prior). A user's words are taken for independent: their lifts add up. Shapes: B users, I items, W words.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from models.base import F32, Examples, Histories, Params, Report, Strings, read, write
from models.definition import Definition
from models.features import Features
from models.popularity import decayed_likes

U32 = NDArray[np.uint32]


class SegmentsParams(Params):
    half_life_days: float = Field(15.0, gt=0)
    """In what is popular with everybody, after this many days a like counts half; in a lift all likes count alike."""
    prior: float = Field(30.0, gt=0)
    """So many likes of an item, as many as if the segment had everybody's taste, are added to those that it has."""
    most: int = Field(64, ge=1)
    """The words that most likes come with, at most so many: each takes a number an item."""


@dataclass(frozen=True)
class Segments:
    """Users hot, warm and cold: by their words alone; one without words gets what is popular with everybody. Items: hot
    ones first, a warm one hardly moves; a cold one is not in the model.
    """

    name: ClassVar[str] = "segments"
    params: SegmentsParams
    item_ids: Strings
    words_W: U32
    """Hashed as Features has them, sorted."""
    items_ID: F32
    """I x (1 + W): the logarithm of what is popular, then the lift by each word."""
    bias_I: None = None

    @classmethod
    def fit(cls, examples: Examples, params: SegmentsParams, report: Report) -> Self:
        """One pass; nothing to report."""
        histories = examples.histories
        likes = histories.matrix(len(examples.item_ids))
        words_W = _most_liked_by(histories, params.most)
        items_ID = np.empty((len(examples.item_ids), 1 + len(words_W)), np.float32)
        items_ID[:, 0] = np.log1p(decayed_likes(examples, params.half_life_days))
        likes_I = likes.sum(axis=0)
        found_WI = (_having(_words(histories), words_W).T @ likes).tocsr()
        for place in range(len(words_W)):
            found_I = found_WI[[place]].toarray()[0]
            expected_I = likes_I * (found_I.sum() / likes_I.sum())
            items_ID[:, 1 + place] = np.log((found_I + params.prior) / (expected_I + params.prior))
        return cls(params, examples.item_ids, words_W, items_ID)

    def encode(self, histories: Histories) -> F32:
        users_BD = np.ones((len(histories), 1 + len(self.words_W)), np.float32)
        users_BD[:, 1:] = _having(_words(histories), self.words_W).toarray()
        return users_BD

    def contributions(self, history: Histories, item: int) -> F32:
        """Zeros: a user's own history moves nothing here."""
        return np.zeros(len(history.items), np.float32)

    def save(self, folder: Path) -> None:
        write(folder, self, words=self.words_W, items=self.items_ID)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        return cls(SegmentsParams(**params), arrays["item_ids"], arrays["words"], arrays["items"])


def _words(histories: Histories) -> Features:
    return histories.traits or Features.none(len(histories))


def _most_liked_by(histories: Histories, most: int) -> U32:
    """The words that most likes come with, sorted; the lesser hash where as many do."""
    likes_B = np.bincount(histories.rows_N, histories.weights, minlength=len(histories))
    words, place_N = np.unique(_words(histories).words, return_inverse=True)
    likes_W = np.bincount(place_N, np.repeat(likes_B, np.diff(_words(histories).indptr)), minlength=len(words))
    return np.sort(words[np.argsort(-likes_W, kind="stable")[:most]])


def _having(traits: Features, words_W: U32) -> csr_array:
    """B x W: 1 for each of the words that a user has."""
    column_N = np.searchsorted(words_W, traits.words)
    known_N = np.append(words_W, 0)[column_N] == traits.words
    known_N &= column_N < len(words_W)
    indptr = np.concatenate([[0], np.cumsum(known_N)])[traits.indptr]
    ones = np.ones(int(known_N.sum()), np.float32)
    return csr_array((ones, column_N[known_N], indptr), shape=(len(traits), len(words_W)))


MODEL = Definition(Segments, SegmentsParams, uses_history=False, user_attributes=True)
