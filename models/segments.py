"""Popularity by segment: what is popular, moved by what users with the same features like more or less than others.

The lift of an item by a feature is log (n + a) / (e + a): n likes of it by the users with that feature, e if these had
everybody's taste, and `prior` a, so that few likes say little (the shrunken ratio of DuMouchel 1999, with one gamma
prior). A user's features are taken to be independent: their lifts add up. Shapes: B users, I items, W features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from models.base import F32, Examples, Histories, Params, Report, Strings, no_report, read, write
from models.definition import Definition
from models.features import Features
from models.popularity import decayed_likes

U32 = NDArray[np.uint32]


class SegmentsParams(Params):
    half_life_days: float = Field(15.0, gt=0)
    """After this many days a like counts half in what is popular; in a lift all likes count alike."""
    prior: float = Field(30.0, gt=0)
    """So many likes are added to those of a segment, spread over the items as everybody's likes are."""
    max_features: int = Field(64, ge=1)
    """Number of features at most, those of the users with the most likes: each takes one number an item."""


@dataclass(frozen=True)
class Segments:
    """Popular items, ranked by user features such as age group or market.

    Trains in one pass. Good for new users who are described. A feature moves an item by the logarithm of its lift: the
    likes of the users who have the feature, divided by those expected from the taste of everybody, with `prior` likes
    added to both so that few likes say little (DuMouchel 1999). The lifts of a user's features add up. Features should
    therefore be ones that many users share.

    Users: hot, warm and cold ones by their features alone; one without features gets what is popular. Items: hot ones
    first, a warm one hardly moves; a cold one is not in the model.
    """

    name: ClassVar[str] = "segments"
    params: SegmentsParams
    item_ids: Strings
    features_W: U32
    """Hashed as Features has them, sorted."""
    items_ID: F32
    """I x (1 + W): the logarithm of what is popular, then the lift by each feature."""
    bias_I: None = None

    @classmethod
    def fit(cls, examples: Examples, params: SegmentsParams, report: Report) -> Self:
        """One pass; nothing to report."""
        histories = examples.histories
        likes = histories.matrix(len(examples.item_ids))
        features_W = _most_liked_by(histories, params.max_features)
        items_ID = np.empty((len(examples.item_ids), 1 + len(features_W)), np.float32)
        items_ID[:, 0] = np.log1p(decayed_likes(examples, params.half_life_days))
        likes_I = likes.sum(axis=0)
        found_WI = (_having(_features(histories), features_W).T @ likes).tocsr()
        for place in range(len(features_W)):
            found_I = found_WI[[place]].toarray()[0]
            expected_I = likes_I * (found_I.sum() / likes_I.sum())
            items_ID[:, 1 + place] = np.log((found_I + params.prior) / (expected_I + params.prior))
        return cls(params, examples.item_ids, features_W, items_ID)

    def extended(self, examples: Examples) -> Self:
        """The lifts of all likes up to now: they take one pass."""
        return self.fit(examples, self.params, no_report)

    def encode(self, histories: Histories) -> F32:
        users_BD = np.ones((len(histories), 1 + len(self.features_W)), np.float32)
        users_BD[:, 1:] = _having(_features(histories), self.features_W).toarray()
        return users_BD

    def contributions(self, history: Histories, item: int) -> F32:
        """Zeros: a user's own history moves nothing here."""
        return np.zeros(len(history.items), np.float32)

    def save(self, folder: Path) -> None:
        write(folder, self, features=self.features_W, items=self.items_ID)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        return cls(SegmentsParams(**params), arrays["item_ids"], arrays["features"], arrays["items"])


def _features(histories: Histories) -> Features:
    return histories.user_features or Features.none(len(histories))


def _most_liked_by(histories: Histories, most: int) -> U32:
    """The features of the users with the most likes, sorted; of two with equally many likes the lesser hash."""
    likes_B = np.bincount(histories.rows_N, histories.weights, minlength=len(histories))
    hashes, place_N = np.unique(_features(histories).hashes, return_inverse=True)
    likes_W = np.bincount(place_N, np.repeat(likes_B, np.diff(_features(histories).indptr)), minlength=len(hashes))
    return np.sort(hashes[np.argsort(-likes_W, kind="stable")[:most]])


def _having(features: Features, features_W: U32) -> csr_array:
    """B x W: 1 for each of the features that a user has."""
    column_N = np.searchsorted(features_W, features.hashes)
    known_N = np.append(features_W, 0)[column_N] == features.hashes
    known_N &= column_N < len(features_W)
    indptr = np.concatenate([[0], np.cumsum(known_N)])[features.indptr]
    ones = np.ones(int(known_N.sum()), np.float32)
    return csr_array((ones, column_N[known_N], indptr), shape=(len(features), len(features_W)))


MODEL = Definition(Segments, SegmentsParams, uses_history=False, user_features=True)
