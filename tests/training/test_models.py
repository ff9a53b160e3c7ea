"""One conformance suite for every model: data with a provably right answer, and promises of the interface."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

import models
from models.als import ALS
from models.base import Examples, FactorModel, Histories, Model
from models.blend import Blend
from models.graph import broadest, diagonal
from models.item_weights import ItemWeights
from models.popularity import Popularity
from models.recommend import recommend, scores
from models.sequence import Sequence
from nightloom.errors import DataError, SettingsError
from training import trainers

USERS, ITEMS, CUT = 40, 12, 1_000_000_000
PARAMS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "segments": {},
    "als": {"factors": 2, "regularisation": 0.1, "popularity": 0.1},
    "ease": {"regularisation": 1.0},
    "graph": {"sharpness": 0.3},
    "item_to_item": {"neighbours": 11},
    "blend": {
        "members": "graph, item_to_item",
        "held_out_days": 0,
        "graph.sharpness": 0.3,
        "item_to_item.neighbours": 9,
    },
    "sequence": {"factors": 16, "epochs": 40, "batch": 20, "length": 8, "dropout": 0.0, "rate": 0.01},
    "two_tower": {"factors": 16, "epochs": 30, "batch": 40, "negatives": 4, "buckets": 8, "rate": 0.1},
}
PERSONAL = [name for name in models.names() if models.definition(name).uses_history]


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
    return {name: trainers.fit(name, examples, PARAMS.get(name, {})) for name in models.names()}


@pytest.mark.parametrize("name", PERSONAL)
def test_on_a_checkerboard_each_gets_the_one_item_of_their_colour_left(
    trained: Trained, examples: Examples, name: str
) -> None:
    model = trained[name]
    ids, _ = recommend(model, examples.histories, 1, seen=examples.histories.matrix(ITEMS))
    left = [2 * ((user // 2) % (ITEMS // 2)) + user % 2 for user in range(USERS)]
    assert ids[:, 0].tolist() == left


@pytest.mark.parametrize("name", PERSONAL)
def test_a_user_who_came_after_the_training_is_served_from_their_history(trained: Trained, name: str) -> None:
    model = trained[name]
    newcomer = Histories.from_lists(model.item_ids, [["i01", "i05", "i09"]], [[1, 1, 1]], [[1, 2, 3]])
    ids, _ = recommend(model, newcomer, 3, seen=newcomer.matrix(ITEMS))
    assert set(ids[0].tolist()) == {3, 7, 11}


def test_popularity_ranks_by_decayed_likes() -> None:
    items, days = np.array([0, 0, 0, 1, 1, 2], np.int32), np.array([40, 40, 40, 1, 1, 0])
    ones = np.ones(6, np.float32)
    histories = Histories.from_events(1, np.zeros(6, np.int64), items, ones, CUT - days * 86_400)
    known = Examples(np.array(["a", "b", "c"]), histories, CUT, seed=0)
    model = trainers.fit("popularity", known, {"half_life_days": 10})
    assert isinstance(model, Popularity)
    np.testing.assert_allclose(model.items_ID[:, 0], [3 / 16, 2 * 0.5**0.1, 1], rtol=1e-6)


@pytest.mark.parametrize("name", models.names())
def test_a_batch_gives_what_its_users_give_one_by_one(trained: Trained, examples: Examples, name: str) -> None:
    histories = examples.histories
    whole = scores(trained[name], histories)
    single = np.concatenate([scores(trained[name], histories.of(np.array([user]))) for user in range(USERS)])
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, single, atol=1e-4)


@pytest.mark.parametrize("name", models.names())
def test_what_is_saved_is_loaded_equal(trained: Trained, examples: Examples, name: str, tmp_path: Path) -> None:
    model = trained[name]
    model.save(tmp_path)
    again = models.load(tmp_path)
    assert (again.name, again.params) == (name, model.params)
    np.testing.assert_array_equal(again.item_ids, model.item_ids)
    np.testing.assert_allclose(scores(again, examples.histories), scores(model, examples.histories), atol=1e-6)


@pytest.mark.parametrize("name", models.names())
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
    return trainers.fit(name, known, PARAMS.get(name, {}))


@pytest.mark.parametrize("name", models.names())
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


@pytest.mark.parametrize("name", ["als", "ease", "graph", "item_to_item"])
def test_contributions_add_up_to_the_score_also_where_items_repeat(trained: Trained, name: str) -> None:
    model = trained[name]
    history = Histories.from_lists(
        model.item_ids, [["i00", "i04", "i00", "i05", "i08"]], [[1, 2, 0.5, 1, 1]], [range(5)]
    )
    cold = Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    moved_I = scores(model, history)[0] - scores(model, cold)[0]
    for item in range(ITEMS):
        assert model.contributions(history, item).sum() == pytest.approx(moved_I[item], abs=1e-5)
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


@pytest.mark.parametrize("name", models.names())
def test_an_unknown_hyper_parameter_is_an_error(examples: Examples, name: str) -> None:
    with pytest.raises(ValueError, match="colour"):
        trainers.fit(name, examples, {"colour": 1})


def test_unknown_items_and_items_only_seen_are_not_in_a_history() -> None:
    ids = np.array(["a", "b"])
    histories = Histories.from_lists(ids, [["b", "x", "a"], [], ["a"]], [[1, 1, 1], [], [0]], [[1, 2, 3], [], [4]])
    assert histories.indptr.tolist() == [0, 2, 2, 2]
    assert histories.items.tolist() == [1, 0]
    assert histories.times.tolist() == [1, 3]


def test_the_sequence_model_forgets_likes_beyond_its_length(trained: Trained) -> None:
    model = trained["sequence"]
    assert isinstance(model, Sequence)
    last = [f"i{item:02}" for item in range(8)]
    longer, shorter = (
        Histories.from_lists(model.item_ids, [items], [[1.0] * len(items)], [range(len(items))])
        for items in (["i11", *last], last)
    )
    np.testing.assert_array_equal(model.encode(longer), model.encode(shorter))


def weighted() -> Examples:
    """Random likes of unequal weight, some of an item twice."""
    rng = np.random.default_rng(4)
    rows, items = rng.integers(0, 30, 260), rng.integers(0, 9, 260).astype(np.int32)
    weights = rng.choice([0.5, 1, 2], 260).astype(np.float32)
    histories = Histories.from_events(30, rows, items, weights, CUT - rng.integers(0, 9, 260))
    return Examples(np.array([f"i{item}" for item in range(9)]), histories, CUT, seed=0)


def fitted(name: str, known: Examples, **params: Any) -> Model:
    return trainers.fit(name, known, params)


def dense(model: Model) -> NDArray[np.float32]:
    assert isinstance(model, ItemWeights)
    return np.asarray(model.weights_II if isinstance(model.weights_II, np.ndarray) else model.weights_II.toarray())


def test_ease_equals_its_definition_by_a_dense_inverse() -> None:
    known = weighted()
    likes = known.histories.matrix(9).toarray().astype(np.float64)
    gram = likes.T @ (likes.sum(axis=1)[:, None] ** -0.5 * likes)
    inverse = np.linalg.inv(gram + np.diag(3 * likes.sum(axis=0) ** 0.6))
    right = likes @ (np.eye(9) - inverse / np.diag(inverse))
    model = fitted("ease", known, popularity=0, regularisation=3, item_power=0.3, user_power=0.5)
    np.testing.assert_allclose(scores(model, known.histories), right, rtol=1e-3, atol=1e-3)


def spectrum(
    likes: NDArray[np.float64], item_power: float, user_power: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and vectors of the item graph."""
    held, worth = likes.sum(axis=0) ** -item_power, likes.sum(axis=1) ** -user_power
    values, vectors = np.linalg.eigh(held[:, None] * (likes.T @ (worth[:, None] * likes)) * held)
    return values / values.max(), vectors


@pytest.mark.parametrize(("sharpness", "lift", "trends"), [(1.0, 0, 0), (0.1, 0.3, 0), (0.01, 0, 0), (0.5, 0.2, 3)])
def test_the_graph_filter_equals_its_definition_by_eigenvalues(sharpness: float, lift: float, trends: int) -> None:
    known = weighted()
    likes = known.histories.matrix(9).toarray().astype(np.float64)
    values, vectors = spectrum(likes, 0.4, 0.5)
    passed = (vectors * values / (values + sharpness)) @ vectors.T
    broad = vectors[:, 9 - trends :]
    degrees = likes.sum(axis=0)
    right = degrees[:, None] ** -0.4 * (passed / (1 - np.diag(passed)) + 0.7 * broad @ broad.T) * degrees**lift
    right[(right < 0) | np.eye(9, dtype=bool)] = 0
    params = {"sharpness": sharpness, "lift": lift, "trends": trends, "trend_weight": 0.7}
    model = fitted("graph", known, item_power=0.4, user_power=0.5, **params)
    np.testing.assert_allclose(dense(model), right, rtol=0.02, atol=0.02)


def test_the_broadest_trends_of_many_items_are_found_and_no_more_than_there_are() -> None:
    rng = np.random.default_rng(0)
    users, items = (np.linalg.qr(rng.normal(size=(size, 60)))[0] for size in (200, 300))
    edges = csr_array(((users * 0.9 ** np.arange(60)) @ items.T).astype(np.float32))
    found = broadest(edges, edges.T.tocsr(), 5, seed=1)
    np.testing.assert_allclose(found @ found.T, items[:, :5] @ items[:, :5].T, atol=1e-3)
    assert broadest(edges, edges.T.tocsr(), 100, seed=1).shape[1] <= 60


def test_the_graph_filter_that_gives_back_what_it_held_is_ease_without_the_matrix() -> None:
    known, pull = weighted(), {"item_power": 0.3, "user_power": 0.2}
    likes = known.histories.matrix(9).toarray().astype(np.float64)
    held = likes.sum(axis=0) ** -0.3
    largest = np.linalg.eigvalsh(held[:, None] * (likes.T @ (likes.sum(axis=1)[:, None] ** -0.2 * likes)) * held).max()
    graph, ease = (
        fitted("graph", known, sharpness=0.2, lift=0.3, **pull),
        fitted("ease", known, regularisation=0.2 * largest, **pull),
    )
    np.testing.assert_allclose(dense(graph), np.maximum(dense(ease), 0), atol=0.01)


def test_the_graph_filter_keeps_the_items_that_a_like_says_most_for() -> None:
    known = weighted()
    whole, few = fitted("graph", known), fitted("graph", known, neighbours=2)
    told = dense(whole)
    told[told < np.sort(told, axis=1)[:, [-2]]] = 0
    np.testing.assert_allclose(dense(few), told)


def test_the_diagonal_of_many_items_is_estimated_closely() -> None:
    rng = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(rng.normal(size=(400, 400)))
    passed = ((vectors * rng.uniform(0, 0.3, 400)) @ vectors.T).astype(np.float32)
    found = diagonal(lambda signal: passed @ signal, 400, seed=1)
    np.testing.assert_allclose(1 / (1 - found), 1 / (1 - np.diag(passed)), rtol=0.05)


def test_item_to_item_keeps_the_nearest_by_its_definition() -> None:
    known = weighted()
    likes = known.histories.matrix(9).toarray().astype(np.float64)
    likes *= likes.sum(axis=1)[:, None] ** -0.25
    gram = likes.T @ likes
    norms = np.diag(gram) ** 0.4
    near = gram / (np.outer(norms, norms) + 2)
    np.fill_diagonal(near, 0)
    near[near < np.sort(near, axis=1)[:, [-3]]] = 0
    model = fitted("item_to_item", known, neighbours=3, item_power=0.4, user_power=0.5, shrinkage=2)
    np.testing.assert_allclose(dense(model), near, rtol=1e-5)


def test_a_catalogue_too_large_for_ease_is_an_error_that_says_how_much_it_needs(examples: Examples) -> None:
    with pytest.raises(SettingsError, match=r"12 items need a matrix of 0.0 GiB.*use graph"):
        fitted("ease", examples, memory_gib=1e-9)


@pytest.mark.parametrize("name", ["blend", "graph", "als"])
def test_lists_are_the_same_whatever_the_block_size(
    trained: Trained, examples: Examples, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = trained[name], examples.histories.matrix(ITEMS)
    allowed = np.arange(ITEMS) != 5
    whole_ids, whole_scores = recommend(model, examples.histories, ITEMS, seen=seen, allowed_I=allowed)
    monkeypatch.setattr("models.recommend.SCORES_PER_BLOCK", 7 * ITEMS)
    ids, found = recommend(model, examples.histories, ITEMS, seen=seen, allowed_I=allowed)
    np.testing.assert_array_equal(ids, whole_ids)
    np.testing.assert_allclose(found, whole_scores, atol=1e-5)
    assert not (ids == 5).any()
    assert (np.sum(ids >= 0, axis=1) >= ITEMS - 1 - examples.histories.lengths_B).all()


def test_the_contributions_to_a_blend_are_its_members_by_weight_and_scale(trained: Trained, examples: Examples) -> None:
    model, one = trained["blend"], examples.histories.of(np.array([3]))
    assert isinstance(model, Blend)
    cold = Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    moved = [scores(member, one)[0] - scores(member, cold)[0] for member in model.members]
    scales = [scores(member, one).std() for member in model.members]
    right = sum(w * by / scale for w, by, scale in zip(model.weights_M, moved, scales, strict=True))
    found = [model.contributions(one, item).sum() for item in range(ITEMS)]
    np.testing.assert_allclose(found, right, atol=1e-4)


def test_a_blend_learns_to_leave_out_a_member_that_only_harms(examples: Examples) -> None:
    model = fitted("blend", examples, members="item_to_item, popularity", held_out_days=0)
    assert isinstance(model, Blend)
    good, bad = model.weights_M
    assert good > 10 * bad


def test_few_judges_leave_the_members_of_a_blend_alike(examples: Examples) -> None:
    model = fitted("blend", examples, members="item_to_item, popularity", held_out_days=0, judges=4)
    assert isinstance(model, Blend)
    assert model.weights_M.tolist() == [0.5, 0.5]


def test_a_blend_refuses_models_that_nobody_wrote_and_parameters_of_no_member(examples: Examples) -> None:
    with pytest.raises(ValueError, match=r"no member can be 'magic'.*als"):
        fitted("blend", examples, members="graph, magic")
    with pytest.raises(ValueError, match=r"'als.factors' belongs to no member; the members are graph"):
        fitted("blend", examples, **{"members": "graph", "als.factors": 3})


def test_each_model_is_of_one_shape(trained: Trained) -> None:
    shapes = {name: isinstance(model, FactorModel) for name, model in trained.items()}
    assert shapes == {
        name: name in ("popularity", "segments", "als", "sequence", "two_tower") for name in models.names()
    }


def test_a_blend_that_nothing_can_judge_is_an_error(examples: Examples) -> None:
    with pytest.raises(DataError, match="nobody with a history liked anything new in the last 7 days"):
        fitted("blend", examples, members="graph", held_out_days=7)


def test_the_page_of_models_names_every_model_and_its_examples_train(examples: Examples) -> None:
    page = (Path(models.__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf8")
    assert [name for name in models.names() if f"| `{name}` |" not in page] == []
    for spec in tomllib.loads(page.split("```toml\n")[1].split("```")[0])["models"]:
        params = spec["params"] | ({"held_out_days": 0} if spec["name"] == "blend" else {})
        assert fitted(spec["name"], examples, **params).name == spec["name"]
