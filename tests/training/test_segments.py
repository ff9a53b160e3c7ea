"""Popularity by segment: against its definition, and what it does for a blend."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from models.base import Examples, FactorModel, Histories, Model
from models.blend import Blend
from models.features import Features, hashed
from models.recommend import recommend, scores
from models.segments import Segments
from training import trainers

USERS, ITEMS, CUT = 60, 8, 1_000_000_000
ITEM_IDS = np.array([f"i{item}" for item in range(ITEMS)])
WORDS = [[f"city={'Ulm' if user % 3 else 'Jena'}", *(["age=30-39"] if user % 2 else [])] for user in range(USERS - 1)]


def members() -> Examples:
    """Random likes of unequal weight, in Jena more of the even items; the last user has no words."""
    rng = np.random.default_rng(5)
    rows = rng.integers(0, USERS, 900)
    items = rng.integers(0, ITEMS, 900)
    items -= (items % 2) * (rows % 3 == 0) * (rng.random(900) < 0.7)
    weights = rng.choice([0.5, 1, 2], 900).astype(np.float32)
    histories = Histories.from_events(USERS, rows, items.astype(np.int32), weights, CUT - rng.integers(0, 10**6, 900))
    return Examples(ITEM_IDS, replace(histories, traits=Features.from_lists([*WORDS, []])), CUT, seed=0)


def fitted(name: str, known: Examples, **params: Any) -> Model:
    return trainers.fit(name, known, params)


def strangers(*words: list[str]) -> Histories:
    nothing: list[list[Any]] = [[] for _ in words]
    return Histories.from_lists(ITEM_IDS, nothing, nothing, nothing, words)


def test_the_lift_by_a_word_equals_its_definition() -> None:
    known, prior = members(), 4.0
    model = fitted("segments", known, prior=prior)
    assert isinstance(model, Segments)
    likes = known.histories.matrix(ITEMS).toarray()
    place = np.flatnonzero(model.words_W == hashed(["city=Jena"]))[0]
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
    model = fitted("segments", members(), most=2)
    assert isinstance(model, Segments)
    assert sorted(model.words_W.tolist()) == sorted(hashed(["city=Ulm", "age=30-39"]).tolist())


def test_likes_of_users_without_words_leave_just_what_is_popular() -> None:
    known = members()
    model = fitted("segments", replace(known, histories=replace(known.histories, traits=None)))
    assert isinstance(model, FactorModel)
    assert model.items_ID.shape == (ITEMS, 1)
    np.testing.assert_array_equal(*scores(model, strangers(["city=Jena"], [])))


def test_a_blend_gives_a_user_without_history_what_their_segment_likes(tmp_path: Path) -> None:
    params = {"members": "als, item_to_item", "held_out_days": 0, "segments.prior": 1.0}
    model, plain = (fitted("blend", members(), **params, segments=segments) for segments in (True, False))
    assert isinstance(model, Blend)
    assert isinstance(plain, Blend)
    assert plain.segments is None
    jena, nobody = strangers(["city=Jena"]), strangers([])
    np.testing.assert_array_equal(scores(plain, jena), scores(plain, nobody))
    np.testing.assert_allclose(scores(model, nobody), scores(plain, nobody), atol=1e-5)
    best = recommend(model, jena, ITEMS)[0][0]
    assert (best[: ITEMS // 2] % 2 == 0).all(), best
    # As far as they move what is popular, on the scale that the members have.
    popular = fitted("segments", members(), prior=1.0)
    moved = (scores(popular, jena) - scores(popular, nobody)) / scores(popular, nobody).std()
    np.testing.assert_allclose(scores(model, jena) - scores(model, nobody), moved, atol=1e-5)
    model.save(tmp_path)
    np.testing.assert_allclose(scores(models.load(tmp_path), jena), scores(model, jena), atol=1e-6)


def test_a_blend_of_users_without_words_has_no_segments(tmp_path: Path) -> None:
    known = members()
    model = fitted("blend", replace(known, histories=replace(known.histories, traits=None)), held_out_days=0)
    assert isinstance(model, Blend)
    assert model.segments is None
    model.save(tmp_path)
    assert not (tmp_path / "segments").exists()
    assert scores(models.load(tmp_path), strangers(["city=Jena"])).shape == (1, ITEMS)


def test_segments_cannot_be_a_member_they_are_added_by_themselves() -> None:
    with pytest.raises(ValueError, match="no member can be 'segments'"):
        fitted("blend", members(), members="als, segments")
