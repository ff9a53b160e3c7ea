"""The inner loop of ALS: one sweep over the rows of a like matrix, in numba, rows spread over the cores."""

import numba
import numpy as np
from scipy.sparse import csr_array

from training.models.als import ALSParams
from training.models.base import F32, I32


def sweep(likes: csr_array, solved_RD: F32, fixed_ND: F32, params: ALSParams) -> None:
    """Move every row of `solved_RD` towards its minimum with the other side held fixed, in place."""
    gram_DD = fixed_ND.T @ fixed_ND + np.float32(params.regularisation) * np.eye(fixed_ND.shape[1], dtype=np.float32)
    extra = np.float32(params.confidence) * likes.data
    _conjugate_gradient(likes.indptr, likes.indices, extra, solved_RD, fixed_ND, gram_DD, params.steps)


def objective(likes: csr_array, users_UD: F32, items_ID: F32, params: ALSParams) -> float:
    """The minimised sum per user-item pair: all pairs as zeros by the Gram matrices, then the likes put right."""
    zeros = np.sum((users_UD.T @ users_UD) * (items_ID.T @ items_ID), dtype=np.float64)
    extra = params.confidence * likes.data
    scores = _scores(likes, users_UD, items_ID)
    likes_part = np.sum((1 + extra) * (1 - scores) ** 2 - scores**2, dtype=np.float64)
    norms = np.sum(users_UD**2, dtype=np.float64) + np.sum(items_ID**2, dtype=np.float64)
    return float((zeros + likes_part + params.regularisation * norms) / (len(users_UD) * len(items_ID)))


@numba.njit(parallel=True, cache=True)
def _conjugate_gradient(
    indptr: I32, indices: I32, extra: F32, solved_RD: F32, fixed_ND: F32, gram_DD: F32, steps: int
) -> None:
    """Every row of `solved_RD`, spread over the cores."""
    for row in numba.prange(len(solved_RD)):
        own = slice(indptr[row], indptr[row + 1])
        _solve(indices[own], extra[own], solved_RD[row], fixed_ND, gram_DD, steps)


@numba.njit(cache=True, fastmath=True)
def _solve(liked: I32, extra: F32, x_D: F32, fixed_ND: F32, gram_DD: F32, steps: int) -> None:
    """`steps` of conjugate gradient on A x = b; A = gram + sum (c - 1) y y', b = sum c y, c - 1 = `extra`."""
    residual_D = -np.dot(gram_DD, x_D)
    for n in range(len(liked)):
        y_D = fixed_ND[liked[n]]
        residual_D += (1 + extra[n] - extra[n] * np.dot(y_D, x_D)) * y_D
    direction_D = residual_D.copy()
    size = np.dot(residual_D, residual_D)
    for _ in range(steps):
        if size < 1e-12:
            break
        applied_D = np.dot(gram_DD, direction_D)
        for n in range(len(liked)):
            y_D = fixed_ND[liked[n]]
            applied_D += (extra[n] * np.dot(y_D, direction_D)) * y_D
        step = size / np.dot(direction_D, applied_D)
        x_D += step * direction_D
        residual_D -= step * applied_D
        smaller = np.dot(residual_D, residual_D)
        direction_D = residual_D + (smaller / size) * direction_D
        size = smaller


def _scores(likes: csr_array, users_UD: F32, items_ID: F32) -> F32:
    """The score of each like, a million likes at a time."""
    rows = np.repeat(np.arange(len(users_UD)), np.diff(likes.indptr))
    parts = [slice(start, start + 1_000_000) for start in range(0, likes.nnz, 1_000_000)]
    dots = (np.einsum("nd,nd->n", users_UD[rows[part]], items_ID[likes.indices[part]]) for part in parts)
    return np.concatenate(list(dots))
