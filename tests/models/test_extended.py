"""Models that take new items without a training: these get what a training would give them, and known ones stay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import models
from models.als import ALS
from models.base import DAY, Examples, ExtendableModel, Histories, Model, decay_weights, item_index
from models.blend import Blend
from models.features import Features
from models.recommend import lift, recommend, scores
from nightloom.errors import DataError
from tests.models.checkerboard import CUT, EXAMPLES, ITEMS, PARAMS, USERS, fitted, weighted
from tests.models.members import members
from training import trainers

NEW = 2
"""Items that come after the training: one of each colour, in the middle of the item order."""


def extendable(name: str) -> bool:
    return isinstance(models.definition(name).model, type) and hasattr(models.definition(name).model, "extended")


NAMES = [name for name in models.names() if extendable(name)]
BY_LIKES = [name for name in NAMES if models.definition(name).uses_history and name != "two_tower"]


def later() -> Examples:
    """The checkerboard a week later: items i05a (even users) and i05b (odd users) came, half of the users like them."""
    item_ids = np.array(sorted([*EXAMPLES.item_ids.tolist(), "i05a", "i05b"]))
    old = item_index(EXAMPLES.item_ids, item_ids)
    new = item_index(np.array(["i05a", "i05b"]), item_ids)
    users = np.arange(USERS // 2)
    histories = EXAMPLES.histories
    return Examples(
        item_ids,
        Histories.from_events(
            USERS,
            np.concatenate([histories.rows_N, users]),
            np.concatenate([old[histories.items], new[users % 2]]).astype(np.int32),
            np.ones(len(histories.items) + len(users), np.float32),
            np.concatenate([histories.times, CUT + users]),
        ),
        CUT + 7 * DAY,
        seed=3,
    )


def trained(name: str, examples: Examples = EXAMPLES) -> Model:
    return fitted(name, examples, **PARAMS[name])


def extended(model: Model, examples: Examples) -> Model:
    assert isinstance(model, ExtendableModel)
    result: Model = model.extended(examples)
    return result


@pytest.mark.parametrize("name", BY_LIKES)
def test_a_new_item_goes_to_those_whose_like_liked_it(name: str) -> None:
    after = later()
    model = extended(trained(name), after)
    assert model.item_ids.tolist() == after.item_ids.tolist()
    rest = np.arange(USERS // 2, USERS)
    new = item_index(np.array(["i05a", "i05b"]), after.item_ids)
    by_colour = scores(model, after.histories)[rest][:, new]
    assert (by_colour.argmax(axis=1) == rest % 2).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_extended_model_is_saved_and_loaded_equal_and_explains(name: str, tmp_path: Path) -> None:
    examples, after = EXAMPLES, later()
    if name == "two_tower":
        examples, after = with_features(examples), with_features(after)
    model = extended(trained(name, examples), after)
    model.save(tmp_path)
    again = models.load(tmp_path)
    np.testing.assert_allclose(scores(again, after.histories), scores(model, after.histories), atol=1e-6)
    for item in range(len(after.item_ids)):
        parts = again.contributions(after.histories.of(np.array([0])), item)
        assert np.isfinite(parts).all()
        assert len(parts) == after.histories.lengths_B[0]


@pytest.mark.parametrize("name", [name for name in BY_LIKES if name != "als"])
def test_without_new_items_only_what_is_popular_moves(name: str) -> None:
    model = trained(name)
    later_cut = replace(EXAMPLES, cut=EXAMPLES.cut + 3 * DAY)
    np.testing.assert_allclose(
        lift(extended(model, later_cut), EXAMPLES.histories), lift(model, EXAMPLES.histories), atol=1e-4
    )


def test_als_gives_a_new_item_the_minimum_of_its_objective_with_the_users_held_fixed() -> None:
    after, params = later(), {"factors": 4, "confidence": 5.0, "regularisation": 0.5, "half_life_days": 1000.0}
    before = fitted("als", EXAMPLES, **params)
    assert isinstance(before, ALS)
    model = before.extended(after)
    index = item_index(after.item_ids, before.item_ids)
    np.testing.assert_array_equal(model.items_ID[index >= 0], before.items_ID)
    worth = decay_weights(after.histories.weights, after.histories.times, after.cut, 1000)
    likes = after.histories.matrix(len(index), worth)
    known = np.where(index[:, None] < 0, 0, before.items_ID[index]).astype(np.float64)
    dense = likes.toarray().astype(np.float64)

    def solve(confidence_R: np.ndarray, fixed_RD: np.ndarray) -> np.ndarray:
        system = (fixed_RD.T * (1 + 5 * confidence_R)) @ fixed_RD + 0.5 * np.eye(4)
        return np.asarray(np.linalg.solve(system, ((1 + 5 * confidence_R) * (confidence_R > 0)) @ fixed_RD))

    users = np.stack([solve(row, known) for row in dense])
    for item in np.flatnonzero(index < 0):
        np.testing.assert_allclose(model.items_ID[item], solve(dense[:, item], users), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["item_to_item", "graph"])
def test_weights_of_a_new_item_are_those_of_a_training_on_the_same_likes(name: str) -> None:
    after = weighted()
    keep = after.histories.items != 4
    before = replace(
        after,
        item_ids=np.delete(after.item_ids, 4),
        histories=after.histories.reindexed(item_index(after.item_ids, np.delete(after.item_ids, 4))),
    )
    assert not keep.all()
    params = {"neighbours": 9, "popularity": 0.0}
    model, whole = extended(fitted(name, before, **params), after), fitted(name, after, **params)
    one = Histories.from_lists(after.item_ids, [["i4"], ["i0"]], [[1], [1]], [[1], [1]])
    ours, right = scores(model, one), scores(whole, one)
    np.testing.assert_allclose(ours[0], right[0], rtol=0.02, atol=0.002)
    assert ours[1, 4] == pytest.approx(right[1, 4], rel=0.02, abs=0.002)


def test_items_that_nobody_likes_any_more_are_left_out() -> None:
    fewer = np.delete(EXAMPLES.item_ids, 3)
    after = replace(
        EXAMPLES, item_ids=fewer, histories=EXAMPLES.histories.reindexed(item_index(EXAMPLES.item_ids, fewer))
    )
    for name in BY_LIKES:
        model = extended(trained(name), after)
        assert model.item_ids.tolist() == fewer.tolist()
        assert np.isfinite(scores(model, after.histories)).all()


def test_a_blend_scores_a_new_item_by_the_members_that_take_it() -> None:
    after = later()
    params = {"members": "ease, item_to_item", "held_out_days": 0, "item_to_item.neighbours": 9}
    blend = fitted("blend", EXAMPLES, **params)
    model = extended(blend, after)
    assert not isinstance(blend.members[0], ExtendableModel)  # type: ignore[union-attr]
    ids, _ = recommend(model, after.histories, 1, seen=after.histories.matrix(ITEMS + NEW))
    rest = np.arange(USERS // 2, USERS)
    new = item_index(np.array(["i05a", "i05b"]), after.item_ids)
    by_colour = scores(model, after.histories)[rest][:, new]
    assert (by_colour.argmax(axis=1) == rest % 2).all()
    known = ~np.isin(np.arange(len(after.item_ids)), new)
    unchanged = scores(blend, EXAMPLES.histories.of(rest))
    assert np.corrcoef(scores(model, after.histories)[rest][:, known].ravel(), unchanged.ravel())[0, 1] > 0.95
    assert ids.min() >= 0


def test_a_blend_whose_members_take_no_new_items_refuses_them() -> None:
    blend = fitted("blend", EXAMPLES, **{"members": "ease, item_to_item", "held_out_days": 0})
    assert isinstance(blend, Blend)
    by_ease = replace(blend, weights_M=np.array([1, 0], np.float32))
    with pytest.raises(DataError, match="none of its members with a weight takes new items"):
        by_ease.extended(later())


def test_a_blend_keeps_its_users_features() -> None:
    known = members()
    params = {
        "members": "graph, item_to_item",
        "held_out_days": 0,
        "graph.sharpness": 0.3,
        "item_to_item.neighbours": 7,
    }
    blend = fitted("blend", known, **params)
    model = extended(blend, replace(known, cut=known.cut + DAY))
    np.testing.assert_allclose(scores(model, known.histories), scores(blend, known.histories), atol=0.05)


def with_features(examples: Examples) -> Examples:
    """Items described by their colour, which the name of a new one ends with."""
    words = [
        ["colour=black" if int(item[1:3]) % 2 or item.endswith("b") else "colour=white"]
        for item in examples.item_ids.tolist()
    ]
    words = [
        ["colour=white"] if item.endswith("a") else word
        for item, word in zip(examples.item_ids.tolist(), words, strict=True)
    ]
    return replace(examples, item_features=Features.from_lists(words))


def test_two_towers_place_a_new_item_by_its_features() -> None:
    after = with_features(later())
    model = extended(trained("two_tower", with_features(EXAMPLES)), after)
    new = item_index(np.array(["i05a", "i05b"]), after.item_ids)
    by_colour = scores(model, after.histories)[:, new]
    assert (by_colour.argmax(axis=1) == np.arange(USERS) % 2).mean() > 0.9
    with pytest.raises(DataError, match="takes no new items"):
        extended(trained("two_tower", with_features(EXAMPLES)), later())


def test_the_trainers_own_refit_and_an_extension_know_the_same_items() -> None:
    after = later()
    for name in BY_LIKES:
        assert (
            trainers.refit(trained(name), after).item_ids.tolist() == extended(trained(name), after).item_ids.tolist()
        )
