"""Popularity by segment, against its definition."""

from dataclasses import replace

import numpy as np

from models.base import FactorModel
from models.features import hash_features
from models.recommend import scores
from models.segments import Segments
from tests.models.checkerboard import fitted
from tests.models.members import ITEMS, USERS, WORDS, members, strangers


def test_the_lift_by_a_word_equals_its_definition() -> None:
    known, prior = members(), 4.0
    model = fitted("segments", known, prior=prior)
    assert isinstance(model, Segments)
    likes = known.histories.matrix(ITEMS).toarray()
    place = np.flatnonzero(model.features_W == hash_features(["city=Jena"]))[0]
    of_jena = likes[: USERS - 1][[("city=Jena" in words) for words in WORDS]].sum(axis=0)
    expected = likes.sum(axis=0) * of_jena.sum() / likes.sum()
    np.testing.assert_allclose(
        model.items_ID[:, 1 + place], np.log((of_jena + prior) / (expected + prior)), rtol=1e-4, atol=1e-6
    )


def test_lifts_of_a_users_words_add_up_and_words_that_nobody_had_do_nothing() -> None:
    model = fitted("segments", members())
    both, city, age, none, unknown = scores(
        model, strangers(["city=Jena", "age=30-39"], ["city=Jena"], ["age=30-39"], [], ["city=Rome"])
    )
    np.testing.assert_allclose(both - none, (city - none) + (age - none), atol=1e-5)
    np.testing.assert_array_equal(unknown, none)
    popular = scores(fitted("popularity", members()), strangers([]))[0]
    np.testing.assert_allclose(none, np.log1p(popular), rtol=1e-6)


def test_only_the_words_that_most_likes_come_with_are_kept() -> None:
    model = fitted("segments", members(), max_features=2)
    assert isinstance(model, Segments)
    assert sorted(model.features_W.tolist()) == sorted(hash_features(["city=Ulm", "age=30-39"]).tolist())


def test_likes_of_users_without_words_leave_just_what_is_popular() -> None:
    known = members()
    model = fitted("segments", replace(known, histories=replace(known.histories, user_features=None)))
    assert isinstance(model, FactorModel)
    assert model.items_ID.shape == (ITEMS, 1)
    np.testing.assert_array_equal(*scores(model, strangers(["city=Jena"], [])))
