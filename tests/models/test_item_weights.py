"""EASE, the graph filter and item-to-item: the weights between items, against slow definitions."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.base import Histories, Model
from models.graph import broadest, diagonal
from models.item_weights import ItemWeights
from models.recommend import scores
from nightloom.errors import SettingsError
from tests.models.checkerboard import EXAMPLES, ITEMS, fitted, trained, weighted


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
    expected = dense(whole)
    expected[expected < np.sort(expected, axis=1)[:, [-2]]] = 0
    np.testing.assert_allclose(dense(few), expected)


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


def test_a_catalogue_too_large_for_ease_is_an_error_that_says_how_much_it_needs() -> None:
    with pytest.raises(SettingsError, match=r"12 items need a matrix of 0.0 GiB.*use graph"):
        fitted("ease", EXAMPLES, memory_gib=1e-9)


@pytest.mark.parametrize("name", ["als", "ease", "graph", "item_to_item"])
def test_contributions_add_up_to_the_score_also_where_items_repeat(name: str) -> None:
    model = trained(name)
    history = Histories.from_lists(
        model.item_ids, [["i00", "i04", "i00", "i05", "i08"]], [[1, 2, 0.5, 1, 1]], [range(5)]
    )
    cold = Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    moved_I = scores(model, history)[0] - scores(model, cold)[0]
    for item in range(ITEMS):
        assert model.contributions(history, item).sum() == pytest.approx(moved_I[item], abs=1e-5)
    parts = model.contributions(history, 4)
    assert parts[0] == pytest.approx(2 * parts[2])
