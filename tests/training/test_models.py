"""One conformance suite for every model: data with a provably right answer, and promises of the interface."""

from pathlib import Path

import numpy as np
import pytest

from nightloom.topk import topk
from training import models
from training.models import KINDS
from training.models.als import ALS
from training.models.base import F32, Examples, Histories, Model

USERS, ITEMS, CUT = 40, 12, 1_000_000_000
PARAMS = {
    "popularity": {},
    "als": {"factors": 2, "regularisation": 0.1, "popularity": 0.1},
    "sequence": {"factors": 16, "epochs": 40, "batch": 20, "length": 8, "dropout": 0.0, "rate": 0.01},
}
PERSONAL = [name for name in KINDS if name != "popularity"]


def checkerboard() -> Examples:
    """Even users like even items, odd users odd ones; each leaves out one of them, and item 0 and 1 come up last."""
    rng = np.random.default_rng(1)
    rows, items = [], []
    for user in range(USERS):
        own = [item for item in range(user % 2, ITEMS, 2) if item // 2 != (user // 2) % (ITEMS // 2)]
        rows += [user] * len(own)
        items += rng.permutation(own).tolist()
    order = np.arange(len(rows))
    histories = Histories.from_events(
        USERS, np.array(rows), np.array(items, np.int32), np.ones(len(rows), np.float32), CUT - 500 + order
    )
    return Examples(np.array([f"i{item:02}" for item in range(ITEMS)]), histories, CUT, seed=3)


Trained = dict[str, Model]


@pytest.fixture(scope="module")
def examples() -> Examples:
    return checkerboard()


@pytest.fixture(scope="module")
def trained(examples: Examples) -> dict[str, Model]:
    return {name: kind.type().fit(examples, PARAMS[name], lambda epoch, figures: None) for name, kind in KINDS.items()}


def scores(model: Model, histories: Histories) -> F32:
    bias = 0 if model.bias_I is None else model.bias_I
    return np.asarray(model.encode(histories) @ model.items_ID.T + bias, np.float32)


def test_params_are_given_for_every_model() -> None:
    assert PARAMS.keys() == KINDS.keys()


@pytest.mark.parametrize("name", PERSONAL)
def test_on_a_checkerboard_each_gets_the_one_item_of_their_colour_left(
    trained: Trained, examples: Examples, name: str
) -> None:
    model = trained[name]
    seen = (examples.histories.indptr, examples.histories.items)
    ids, _ = topk(model.encode(examples.histories), model.items_ID, 1, bias_I=model.bias_I, seen=seen)
    left = [2 * ((user // 2) % (ITEMS // 2)) + user % 2 for user in range(USERS)]
    assert ids[:, 0].tolist() == left


@pytest.mark.parametrize("name", PERSONAL)
def test_a_user_who_came_after_the_training_is_served_from_their_history(trained: Trained, name: str) -> None:
    model = trained[name]
    newcomer = Histories.from_lists(model.item_ids, [["i01", "i05", "i09"]], [[1, 1, 1]], [[1, 2, 3]])
    ids, _ = topk(
        model.encode(newcomer), model.items_ID, 3, bias_I=model.bias_I, seen=(newcomer.indptr, newcomer.items)
    )
    assert set(ids[0].tolist()) == {3, 7, 11}


def test_popularity_ranks_by_decayed_likes() -> None:
    items, days = np.array([0, 0, 0, 1, 1, 2], np.int32), np.array([40, 40, 40, 1, 1, 0])
    ones = np.ones(6, np.float32)
    histories = Histories.from_events(1, np.zeros(6, np.int64), items, ones, CUT - days * 86_400)
    known = Examples(np.array(["a", "b", "c"]), histories, CUT, seed=0)
    model = KINDS["popularity"].type().fit(known, {"half_life_days": 10}, lambda epoch, figures: None)
    np.testing.assert_allclose(model.items_ID[:, 0], [3 / 16, 2 * 0.5**0.1, 1], rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_gives_what_its_users_give_one_by_one(trained: Trained, examples: Examples, name: str) -> None:
    histories = examples.histories
    whole = trained[name].encode(histories)
    single = np.concatenate([trained[name].encode(histories.of(np.array([user]))) for user in range(USERS)])
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, single, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_is_loaded_equal(trained: Trained, examples: Examples, name: str, tmp_path: Path) -> None:
    model = trained[name]
    model.save(tmp_path)
    again = models.load(tmp_path)
    assert (again.name, again.params) == (name, model.params)
    np.testing.assert_array_equal(again.item_ids, model.item_ids)
    np.testing.assert_array_equal(again.items_ID, model.items_ID)
    np.testing.assert_allclose(scores(again, examples.histories), scores(model, examples.histories), atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_user_without_history_gets_a_ranking_with_popular_items_before_unpopular_ones(
    examples: Examples, name: str
) -> None:
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
    return KINDS[name].type().fit(known, PARAMS[name], lambda epoch, figures: None)


@pytest.mark.parametrize("name", KINDS)
def test_contributions_are_one_number_per_event(trained: Trained, examples: Examples, name: str) -> None:
    model = trained[name]
    one, none = examples.histories.of(np.array([0])), Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    parts = model.contributions(one, 2)
    assert parts.shape == (len(one.items),)
    assert parts.dtype == np.float32
    assert model.contributions(none, 2).shape == (0,)


@pytest.mark.parametrize("name", PERSONAL)
def test_likes_of_the_same_colour_speak_more_for_an_item(trained: Trained, name: str) -> None:
    model = trained[name]
    mixed = Histories.from_lists(model.item_ids, [["i01", "i00", "i04", "i08"]], [[1] * 4], [range(4)])
    parts = model.contributions(mixed, 2)
    assert parts[1:].mean() > parts[0]


def test_the_contributions_of_als_add_up_to_the_score_also_where_items_repeat(trained: Trained) -> None:
    model = trained["als"]
    assert isinstance(model, ALS)
    history = Histories.from_lists(
        model.item_ids, [["i00", "i04", "i00", "i05", "i08"]], [[1, 2, 0.5, 1, 1]], [range(5)]
    )
    for item in range(ITEMS):
        parts = model.contributions(history, item)
        assert parts.sum() == pytest.approx(scores(model, history)[0, item] - model.bias_I[item], abs=1e-5)
    parts = model.contributions(history, 4)
    assert parts[0] == pytest.approx(2 * parts[2])


def test_als_encodes_to_the_exact_minimum_of_its_objective(trained: Trained, examples: Examples) -> None:
    model = trained["als"]
    assert isinstance(model, ALS)
    params, items = model.params, model.items_ID.astype(np.float64)
    user = model.encode(examples.histories.of(np.array([5])))[0].astype(np.float64)
    liked = np.zeros(ITEMS)
    liked[examples.histories.of(np.array([5])).items] = 1
    confidence = 1 + params.confidence * liked
    gradient = (confidence * (items @ user - liked)) @ items + params.regularisation * user
    np.testing.assert_allclose(gradient, 0, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_hyper_parameter_is_an_error(examples: Examples, name: str) -> None:
    with pytest.raises(ValueError, match="colour"):
        KINDS[name].type().fit(examples, {"colour": 1}, lambda epoch, figures: None)


def test_unknown_items_and_items_only_seen_are_not_in_a_history() -> None:
    ids = np.array(["a", "b"])
    histories = Histories.from_lists(ids, [["b", "x", "a"], [], ["a"]], [[1, 1, 1], [], [0]], [[1, 2, 3], [], [4]])
    assert histories.indptr.tolist() == [0, 2, 2, 2]
    assert histories.items.tolist() == [1, 0]
    assert histories.times.tolist() == [1, 3]


def test_the_sequence_model_forgets_likes_beyond_its_length(trained: Trained) -> None:
    model = trained["sequence"]
    last = [f"i{item:02}" for item in range(8)]
    longer, shorter = (
        Histories.from_lists(model.item_ids, [items], [[1.0] * len(items)], [range(len(items))])
        for items in (["i11", *last], last)
    )
    np.testing.assert_array_equal(model.encode(longer), model.encode(shorter))
