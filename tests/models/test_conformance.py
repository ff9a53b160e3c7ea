"""One conformance suite for every model that is found in models/: promises of the interface, and a right answer."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import models
from models.base import BlockModel, Examples, FactorModel, Histories, Model
from models.recommend import recommend, scores
from tests.models.checkerboard import CUT, EXAMPLES, ITEMS, PARAMS, USERS, fitted, trained
from training import trainers

EVERY = pytest.mark.parametrize("name", models.names())
BY_HISTORY = pytest.mark.parametrize("name", [name for name in models.names() if models.definition(name).uses_history])


@BY_HISTORY
def test_on_a_checkerboard_each_gets_the_one_item_of_their_colour_left(name: str) -> None:
    model = trained(name)
    ids, _ = recommend(model, EXAMPLES.histories, 1, seen=EXAMPLES.histories.matrix(ITEMS))
    left = [2 * ((user // 2) % (ITEMS // 2)) + user % 2 for user in range(USERS)]
    assert ids[:, 0].tolist() == left


@BY_HISTORY
def test_a_user_who_came_after_the_training_is_served_from_their_history(name: str) -> None:
    model = trained(name)
    newcomer = Histories.from_lists(model.item_ids, [["i01", "i05", "i09"]], [[1, 1, 1]], [[1, 2, 3]])
    ids, _ = recommend(model, newcomer, 3, seen=newcomer.matrix(ITEMS))
    assert set(ids[0].tolist()) == {3, 7, 11}


@EVERY
def test_a_batch_gives_what_its_users_give_one_by_one(name: str) -> None:
    histories = EXAMPLES.histories
    whole = scores(trained(name), histories)
    single = np.concatenate([scores(trained(name), histories.of(np.array([user]))) for user in range(USERS)])
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, single, atol=1e-4)


@EVERY
def test_what_is_saved_is_loaded_equal(name: str, tmp_path: Path) -> None:
    model = trained(name)
    model.save(tmp_path)
    again = models.load(tmp_path)
    assert (again.name, again.params) == (name, model.params)
    np.testing.assert_array_equal(again.item_ids, model.item_ids)
    np.testing.assert_allclose(scores(again, EXAMPLES.histories), scores(model, EXAMPLES.histories), atol=1e-6)


@EVERY
def test_a_user_without_history_gets_a_ranking_with_popular_items_before_unpopular_ones(name: str) -> None:
    model = _lopsided(name)
    cold = Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    ranking = scores(model, cold)[0]
    assert np.isfinite(ranking).all()
    assert ranking[0] > ranking[-1]


def _lopsided(name: str) -> Model:
    """Everybody likes the first item, one user the last."""
    rows, items = [*range(20), *range(20), 0], [0] * 20 + [1 + user % 4 for user in range(20)] + [5]
    at = CUT - 100 + np.arange(41)
    histories = Histories.from_events(20, np.array(rows), np.array(items, np.int32), np.ones(41, np.float32), at)
    known = Examples(np.array([f"i{item}" for item in range(6)]), histories, CUT, seed=0)
    return trainers.fit(name, known, PARAMS[name])


@EVERY
def test_contributions_are_one_number_per_event(name: str) -> None:
    model = trained(name)
    one, none = EXAMPLES.histories.of(np.array([0])), Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    parts = model.contributions(one, 2)
    assert parts.shape == (len(one.items),)
    assert parts.dtype == np.float32
    assert model.contributions(none, 2).shape == (0,)


@BY_HISTORY
def test_likes_of_the_same_colour_speak_more_for_an_item(name: str) -> None:
    model = trained(name)
    mixed = Histories.from_lists(model.item_ids, [["i01", "i00", "i04", "i08"]], [[1] * 4], [range(4)])
    parts = model.contributions(mixed, 2)
    assert parts[1:].mean() > parts[0]


@EVERY
def test_an_unknown_hyper_parameter_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="colour"):
        trainers.fit(name, EXAMPLES, {"colour": 1})


@EVERY
def test_a_model_is_of_one_shape(name: str) -> None:
    model = trained(name)
    assert isinstance(model, FactorModel) != isinstance(model, BlockModel)


@EVERY
def test_a_model_is_named_as_its_file_and_documented(name: str) -> None:
    definition = models.definition(name)
    assert definition.model.name == trained(name).name == name
    assert definition.model.__module__ == definition.params.__module__ == f"models.{name}"
    assert definition.model.__doc__
    assert [key for key, field in definition.params.model_fields.items() if not field.description] == []


@EVERY
def test_lists_are_the_same_whatever_the_block_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = trained(name), EXAMPLES.histories.matrix(ITEMS)
    allowed = np.arange(ITEMS) != 5
    whole_ids, whole_scores = recommend(model, EXAMPLES.histories, ITEMS, seen=seen, allowed_I=allowed)
    monkeypatch.setattr("models.recommend.SCORES_PER_BLOCK", 7 * ITEMS)
    ids, found = recommend(model, EXAMPLES.histories, ITEMS, seen=seen, allowed_I=allowed)
    np.testing.assert_array_equal(ids, whole_ids)
    np.testing.assert_allclose(found, whole_scores, atol=1e-5)
    assert not (ids == 5).any()
    assert (np.sum(ids >= 0, axis=1) >= ITEMS - 1 - EXAMPLES.histories.lengths_B).all()


def test_the_examples_on_the_page_of_models_train() -> None:
    page = (Path(models.__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf8")
    for spec in tomllib.loads(page.split("```toml\n")[1].split("```")[0])["models"]:
        params = spec["params"] | ({"held_out_days": 0} if spec["name"] == "blend" else {})
        assert fitted(spec["name"], EXAMPLES, **params).name == spec["name"]
