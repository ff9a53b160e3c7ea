"""The inner loops of ALS: equal to a slow reference, and the same to the last bit wherever and whenever they run."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.als import ALS, ALSParams
from models.als_solver import gram, objective, sweep
from models.base import F32, Examples, Histories, no_report
from tests.models.checkerboard import EXAMPLES, ITEMS, PARAMS, fitted

FACTORS = (3, 16)
"""Less than the eight that the loops take at once, and a multiple of it."""


def likes_and_factors(factors: int, rows: int = 12, others: int = 30) -> tuple[csr_array, F32, F32]:
    """Row n likes n items: none, and every remainder of the four that the loops take at once."""
    rng = np.random.default_rng(factors)
    columns = np.concatenate([rng.permutation(others)[:n] for n in range(rows)]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(np.arange(rows))]).astype(np.int32)
    likes = csr_array((rng.random(len(columns), np.float32), columns, indptr), shape=(rows, others))
    return likes, *(rng.normal(size=(n, factors)).astype(np.float32) for n in (rows, others))


@pytest.mark.parametrize("factors", FACTORS)
def test_a_sweep_is_conjugate_gradient_on_the_normal_equations(factors: int) -> None:
    likes, users, items = likes_and_factors(factors)
    expected, dense, fixed = users.astype(np.float64), likes.toarray(), items.astype(np.float64)
    for user in range(len(users)):
        confidence = 1 + 5.0 * dense[user]
        system = (fixed.T * confidence) @ fixed + 2 * np.eye(factors)
        residual = (confidence * (dense[user] > 0)) @ fixed - system @ expected[user]
        direction = residual
        for _ in range(3):
            step = residual @ residual / (direction @ system @ direction)
            expected[user] += step * direction
            smaller = residual - step * system @ direction
            direction = smaller + smaller @ smaller / (residual @ residual) * direction
            residual = smaller
    sweep(likes, users, items, confidence=5, regularisation=2, steps=3)
    np.testing.assert_allclose(users, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("rows", [0, 1, 8, 9, 5000])
def test_a_gram_matrix_is_the_product_of_the_transpose_and_the_matrix(rows: int, factors: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(rows, factors)).astype(np.float32)
    exact = matrix.astype(np.float64)
    np.testing.assert_allclose(gram(matrix), exact.T @ exact, rtol=1e-4, atol=1e-3)


def test_the_objective_is_the_mean_over_all_pairs() -> None:
    likes, users, items = likes_and_factors(3)
    dense = likes.toarray()
    errors = (1 + 5 * dense) * ((dense > 0) - users @ items.T) ** 2
    norms = (users**2).sum() + (items**2).sum()
    found = objective(likes, users, items, confidence=5, regularisation=2)
    assert found == pytest.approx((errors.sum() + 2 * norms) / errors.size, rel=1e-4)


def trained() -> ALS:
    """On 5,000 users, so that there are many blocks for the threads to take, and two for a Gram matrix."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 5000, 40_000), (300 * rng.random(40_000) ** 2).astype(np.int32)
    weights, times = rng.random(40_000, np.float32), 1_000_000_000 - rng.integers(0, 5_000_000, 40_000)
    histories = Histories.from_events(5000, users, items, weights, times)
    known = Examples(np.array([f"i{item:03}" for item in range(300)]), histories, 1_000_000_000, seed=1)
    return ALS.fit(known, ALSParams(factors=16, sweeps=3), no_report)


def digest(model: ALS) -> str:
    return hashlib.sha256(model.items_ID.tobytes() + model.gram_DD.tobytes() + model.bias_I.tobytes()).hexdigest()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = digest(trained())
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(threads)))
    assert digest(trained()) == here


@pytest.mark.slow
def test_code_fresh_from_the_compiler_and_code_of_its_cache_give_the_same_bits_with_any_blas(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", "from tests.models.test_als import digest, trained; print(digest(trained()))"]
    environment = {**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.check_output(command, cwd=root, env=environment | {"OPENBLAS_NUM_THREADS": threads}, text=True)
        for threads in ("1", "2")
    ]
    assert found == [f"{digest(trained())}\n"] * 2


def test_als_encodes_to_the_exact_minimum_of_its_objective() -> None:
    model = fitted("als", EXAMPLES, **PARAMS["als"])
    assert isinstance(model, ALS)
    params, items = model.params, model.items_ID.astype(np.float64)
    user = model.encode(EXAMPLES.histories.of(np.array([5])))[0].astype(np.float64)
    liked = np.zeros(ITEMS)
    liked[EXAMPLES.histories.of(np.array([5])).items] = 1
    confidence = 1 + params.confidence * liked
    gradient = (confidence * (items @ user - liked)) @ items + params.regularisation * user
    np.testing.assert_allclose(gradient, 0, atol=1e-3)
