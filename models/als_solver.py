"""The inner loops of ALS, in numba: one sweep over the rows of a like matrix, in blocks that threads take in turn.

One thread solves a row, adding up in one order, and Gram matrices are added up block by block: the factors are the same
to the last bit on any number of threads. Hence no BLAS, whose sums differ with the number of its threads.

Loops take 8 or 4 rows of factors at once, for as many sums as a processor has under way; the number of factors is a
constant of the compiled code (Lanes), so that a loop over them is a few whole vector registers. Inner functions are
inlined by LLVM (forceinline): else code fresh from the compiler and code from numba's cache may call different versions
of them, whose last digits differ.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numba
import numpy as np
from scipy.sparse import csr_array

from models.base import F32, I32

Lanes: TypeAlias = tuple[None, ...]
"""One place per factor: a tuple's length is part of its type, and numba compiles for each type."""
ROWS_PER_GRAM = 4096
"""Rows added up before they are added to the rest."""
BLOCKS = 64
"""Of about equal work, in a sweep: few enough to cost nothing, enough for all threads to end together."""


def sweep(
    likes: csr_array, solved_RD: F32, fixed_ND: F32, *, confidence: float, regularisation: float, steps: int
) -> None:
    """Move every row of `solved_RD` towards its minimum with the other side held fixed, in place."""
    rows, factors = solved_RD.shape
    gram_DD = gram(fixed_ND) + np.float32(regularisation) * np.eye(factors, dtype=np.float32)
    extra = np.float32(confidence) * likes.data
    work = likes.indptr + np.arange(rows + 1) * (factors / 2)  # the Gram matrix costs as much as D / 2 likes
    ends = np.searchsorted(work, np.linspace(0, work[-1], BLOCKS + 1)).tolist()

    def solve(first: int, last: int) -> None:
        own = slice(first, last)
        indptr = likes.indptr[first : last + 1]
        _solve(indptr, likes.indices, extra, solved_RD[own], fixed_ND, gram_DD, steps, _lanes(factors))

    _on_all_cores(solve, ends[:-1], ends[1:])


def gram(rows_ND: F32) -> F32:
    """Y'Y, D x D."""
    factors, firsts = rows_ND.shape[1], range(0, len(rows_ND), ROWS_PER_GRAM)
    parts = np.zeros((len(firsts), factors, factors), np.float32)

    def add(first: int, part_DD: F32) -> None:
        _add_gram(rows_ND[first : first + ROWS_PER_GRAM], part_DD, _lanes(factors))

    _on_all_cores(add, firsts, parts)
    return np.asarray(parts.sum(axis=0))


def objective(likes: csr_array, users_UD: F32, items_ID: F32, *, confidence: float, regularisation: float) -> float:
    """The minimised sum per user-item pair: all pairs as zeros by the Gram matrices, then the likes put right."""
    zeros = np.sum(gram(users_UD) * gram(items_ID), dtype=np.float64)
    extra = confidence * likes.data
    scores = _scores(likes, users_UD, items_ID)
    likes_part = np.sum((1 + extra) * (1 - scores) ** 2 - scores**2, dtype=np.float64)
    norms = np.sum(users_UD**2, dtype=np.float64) + np.sum(items_ID**2, dtype=np.float64)
    return float((zeros + likes_part + regularisation * norms) / (len(users_UD) * len(items_ID)))


def _scores(likes: csr_array, users_UD: F32, items_ID: F32) -> F32:
    """The score of each like, a million likes at a time."""
    rows = np.repeat(np.arange(len(users_UD)), np.diff(likes.indptr))
    parts = [slice(start, start + 1_000_000) for start in range(0, likes.nnz, 1_000_000)]
    dots = (np.einsum("nd,nd->n", users_UD[rows[part]], items_ID[likes.indices[part]]) for part in parts)
    return np.concatenate(list(dots))


def _lanes(factors: int) -> Lanes:
    return (None,) * factors


def _on_all_cores(work: Callable[..., None], *arguments: Sequence[int] | F32) -> None:
    """Call `work` with the first of each argument, the second of each, and so on; numba's code lets go of the GIL."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        list(threads.map(work, *arguments))


@numba.njit(cache=True, fastmath=True, nogil=True)
def _solve(
    indptr: I32, indices: I32, extra: F32, solved_RD: F32, fixed_ND: F32, gram_DD: F32, steps: int, lanes: Lanes
) -> None:
    """Conjugate gradient on A x = b for each row x; A = gram + sum (c - 1) y y', b = sum c y, c - 1 = `extra`."""
    factors = len(lanes)
    x_D, residual_D = np.empty(factors, np.float32), np.empty(factors, np.float32)
    direction_D, applied_D = np.empty(factors, np.float32), np.empty(factors, np.float32)
    for row in range(len(solved_RD)):
        liked, more = indices[indptr[row] : indptr[row + 1]], extra[indptr[row] : indptr[row + 1]]
        x_D[:] = solved_RD[row]
        _residual(np.float32(1), liked, more, x_D, fixed_ND, gram_DD, residual_D, lanes)
        direction_D[:] = residual_D
        size = _dot(residual_D, residual_D, lanes)
        for _ in range(steps):
            if size < 1e-12:
                break
            _residual(np.float32(0), liked, more, direction_D, fixed_ND, gram_DD, applied_D, lanes)
            step = -size / _dot(direction_D, applied_D, lanes)
            for d in range(factors):
                x_D[d] += step * direction_D[d]
                residual_D[d] += step * applied_D[d]
            smaller = _dot(residual_D, residual_D, lanes)
            for d in range(factors):
                direction_D[d] = residual_D[d] + (smaller / size) * direction_D[d]
            size = smaller
        solved_RD[row] = x_D


@numba.njit(fastmath=True, nogil=True, forceinline=True)
def _residual(
    target: np.float32, liked: I32, extra: F32, x_D: F32, fixed_ND: F32, gram_DD: F32, out_D: F32, lanes: Lanes
) -> None:
    """target b - A x into `out_D`; the likes are read once."""
    factors, last = len(lanes), len(liked) - 1
    out_D[:] = 0
    for i in range(0, factors - factors % 8, 8):
        for d in range(factors):
            out_D[d] -= (
                x_D[i] * gram_DD[i, d] + x_D[i + 1] * gram_DD[i + 1, d]
                + x_D[i + 2] * gram_DD[i + 2, d] + x_D[i + 3] * gram_DD[i + 3, d]
                + x_D[i + 4] * gram_DD[i + 4, d] + x_D[i + 5] * gram_DD[i + 5, d]
                + x_D[i + 6] * gram_DD[i + 6, d] + x_D[i + 7] * gram_DD[i + 7, d]
            )  # fmt: skip
    for i in range(factors - factors % 8, factors):
        for d in range(factors):
            out_D[d] -= x_D[i] * gram_DD[i, d]
    for n in range(0, len(liked), 4):  # beyond the last like: the last one again, with weight 0
        n1, n2, n3 = min(n + 1, last), min(n + 2, last), min(n + 3, last)
        j, j1, j2, j3 = liked[n], liked[n1], liked[n2], liked[n3]
        s = s1 = s2 = s3 = np.float32(0)
        for d in range(factors):
            s += fixed_ND[j, d] * x_D[d]
            s1 += fixed_ND[j1, d] * x_D[d]
            s2 += fixed_ND[j2, d] * x_D[d]
            s3 += fixed_ND[j3, d] * x_D[d]
        s = target + extra[n] * (target - s)
        s1 = (target + extra[n1] * (target - s1)) * np.float32(n + 1 <= last)
        s2 = (target + extra[n2] * (target - s2)) * np.float32(n + 2 <= last)
        s3 = (target + extra[n3] * (target - s3)) * np.float32(n + 3 <= last)
        for d in range(factors):
            out_D[d] += s * fixed_ND[j, d] + s1 * fixed_ND[j1, d] + s2 * fixed_ND[j2, d] + s3 * fixed_ND[j3, d]


@numba.njit(cache=True, fastmath=True, nogil=True)
def _add_gram(rows_ND: F32, out_DD: F32, lanes: Lanes) -> None:
    """Y'Y added to `out_DD`."""
    factors, whole = len(lanes), len(rows_ND) - len(rows_ND) % 8
    for n in range(0, whole, 8):
        y = rows_ND[n : n + 8]
        for i in range(factors):
            for d in range(factors):
                out_DD[i, d] += (
                    y[0, i] * y[0, d] + y[1, i] * y[1, d] + y[2, i] * y[2, d] + y[3, i] * y[3, d]
                    + y[4, i] * y[4, d] + y[5, i] * y[5, d] + y[6, i] * y[6, d] + y[7, i] * y[7, d]
                )  # fmt: skip
    for n in range(whole, len(rows_ND)):
        for i in range(factors):
            for d in range(factors):
                out_DD[i, d] += rows_ND[n, i] * rows_ND[n, d]


@numba.njit(fastmath=True, nogil=True, forceinline=True)
def _dot(a_D: F32, b_D: F32, lanes: Lanes) -> np.float32:
    total = np.float32(0)
    for d in range(len(lanes)):
        total += a_D[d] * b_D[d]
    return total
