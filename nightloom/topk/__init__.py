"""Exact top-K: user vectors x item matrix (+ item bias), or given score rows -> the K best items of each user.

`topk` never holds a score row: items are sorted, screened in 8-bit integers with a proven bound of their error, and
only those that the bound leaves are scored (nightloom/topk/screen.py; docs/topk.md says how and how fast).
`topk_of_scores` selects in the same way from rows that something else scored. Shapes: U users, I items, A items that
are allowed, S the same sorted, D factors, B users of a block, K list length.

Order: higher score first, then lower item index, also where the K-th score is shared. A score is the float32 next to
the float64 product. So a user's list depends on nothing but the user: not on the batch, nor on the number of threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from nightloom.errors import NightloomError
from nightloom.topk import device as topk_device

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Keys: TypeAlias = Callable[[slice, I64], I64]
"""Some users, and where their excluded items begin and end -> keys of their best, B x K (nightloom/topk/screen.py)."""
Seen: TypeAlias = csr_matrix | csr_array | tuple[NDArray[np.integer], NDArray[np.integer]]
"""Items excluded per user: a U x I sparse matrix, or its (indptr, indices)."""

USERS_AT_ONCE = 504  # of a thread: many share an item while it is in the cache
KEYS_AT_ONCE = 1 << 20  # fewer users where lists are long: 16 MiB of keys
LOW = np.int64(0xFFFFFFFF)


class TopKError(NightloomError):
    """The arguments of a selection do not fit together, or hold numbers that have no order."""


def topk(
    users_UD: F32,
    items_ID: F32,
    k: int,
    *,
    bias_I: F32 | None = None,
    seen: Seen | None = None,
    allowed_I: Bools | None = None,
    int8: bool | None = None,
) -> tuple[I32, F32]:
    """The k best items of every user, best first: (ids_UK int32, scores_UK float32).

    `seen` items are left out for their user, items outside `allowed_I` for everybody. A user with fewer than k items
    left gets id -1 and score -inf in the rest of the row. Users and items may be torch tensors, and are then scored on
    the device where they are (nightloom/topk/device.py). `int8` is for tests: by itself the screen is what the
    processor does best. Raises TopKError where shapes differ, or where a value is NaN, infinite, or so large that a
    score would be.
    """
    tensors = topk_device.is_tensor(users_UD)
    if not tensors:
        users_UD, items_ID = (np.ascontiguousarray(rows, np.float32) for rows in (users_UD, items_ID))
    bias_I = np.zeros(len(items_ID), np.float32) if bias_I is None else np.asarray(bias_I, np.float32)
    norm_U, norm_I = _check_factors(users_UD, items_ID, bias_I)
    indptr, indices = _excluded(seen, len(users_UD))
    _check(len(items_ID), k, allowed_I, indices)
    ids_A = np.arange(len(items_ID)) if allowed_I is None else np.flatnonzero(allowed_I)
    most = min(k, len(ids_A))
    if tensors:
        allowed_bias_I = np.full(len(items_ID), -np.inf, np.float32)
        allowed_bias_I[ids_A] = bias_I[ids_A]
        step = topk_device.SCORES_AT_ONCE // max(len(items_ID), 1)

        def on_device(users: slice, ends: I64) -> I64:
            return topk_device.keys_of_block(users_UD[users], items_ID, allowed_bias_I, ends, indices, most)

        return _lists(on_device, len(users_UD), k, most, indptr, step, threads=1)
    screen = _screen(users_UD, items_ID, bias_I, ids_A, (norm_U, norm_I), indices, most, int8)
    return _lists(screen, len(users_UD), k, most, indptr, min(USERS_AT_ONCE, KEYS_AT_ONCE // max(most, 1)))


def topk_of_scores(
    scores_UI: F32, k: int, *, seen: Seen | None = None, allowed_I: Bools | None = None
) -> tuple[I32, F32]:
    """The same for whole score rows; give it as many users at a time as fit into memory."""
    scores_UI = np.ascontiguousarray(scores_UI, np.float32)
    if scores_UI.ndim != 2 or not np.isfinite(scores_UI).all():
        raise TopKError(f"scores {scores_UI.shape} must be U x I, finite float32")
    users, items = scores_UI.shape
    indptr, indices = _excluded(seen, users)
    _check(items, k, allowed_I, indices)
    from nightloom.topk.screen import best_of_rows

    allowed_I = np.ones(items, np.bool_) if allowed_I is None else allowed_I

    most = min(k, items)

    def keys(rows: slice, ends: I64) -> I64:
        return best_of_rows(scores_UI[rows], allowed_I, ends, indices, most)

    return _lists(keys, users, k, most, indptr, min(USERS_AT_ONCE, KEYS_AT_ONCE // max(most, 1)))


def _screen(
    users_UD: F32, items_ID: F32, bias_I: F32, ids_A: I64, norms: tuple[F64, F64], indices: I64, most: int,
    int8: bool | None,
) -> Keys:  # fmt: skip
    """Items by the largest score that a usual user could give them, and what the screen holds of them."""
    from nightloom.topk import operands as topk_held  # numba: only those who select wait for it
    from nightloom.topk import screen as topk_screen

    norm_U, norm_I = norms
    int8 = topk_held.INT8 if int8 is None else int8
    usual = float(np.median(norm_U)) if len(norm_U) else 0.0
    ids_S = ids_A[np.argsort(-(usual * norm_I[ids_A] + bias_I[ids_A]), kind="stable")]
    items = topk_held.hold_items(ids_S, items_ID[ids_S], bias_I[ids_S], int8)
    by_bias_S = np.lexsort((ids_S, -bias_I[ids_S])) if (norm_U == 0).any() else ids_S[:0]
    place_I = np.full(len(items_ID), len(items_ID))
    place_I[ids_S] = np.arange(len(ids_S))

    def keys(users: slice, ends: I64) -> I64:
        given = topk_screen.Given(ends, indices, place_I, by_bias_S)
        return topk_screen.screened(topk_held.hold_users(users_UD[users], int8), items, given, most)

    return keys


def _lists(
    keys: Keys, users: int, k: int, most: int, indptr: I64, step: int, threads: int | None = None
) -> tuple[I32, F32]:
    """`keys` gives those of some users' best, B x `most`, in any order: threads take blocks of users in turn."""
    ids_UK, scores_UK = np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)
    threads = threads or len(os.sched_getaffinity(0))
    step = max(1, min(step, -(-users // threads)))

    def fill(first: int) -> None:
        block = slice(first, min(first + step, users))
        keys_BK = np.sort(keys(block, indptr[block.start : block.stop + 1]), axis=1)[:, ::-1]
        ids_UK[block, :most], scores_UK[block, :most] = _unpacked(keys_BK)

    if most:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(0, users, step)))
    return ids_UK, scores_UK


def _excluded(seen: Seen | None, users: int) -> tuple[I64, I64]:
    """Each user's items ascending."""
    if seen is None:
        return np.zeros(users + 1, np.int64), np.empty(0, np.int64)
    indptr, indices = seen if isinstance(seen, tuple) else (seen.indptr, seen.indices)
    if len(indptr) != users + 1:
        raise TopKError(f"seen has {len(indptr) - 1} rows for {users} users; give one row per user, empty or not")
    indptr, indices = np.asarray(indptr, np.int64), np.asarray(indices, np.int64)
    falls = np.flatnonzero(np.diff(indices) < 0) + 1
    if not np.isin(falls, indptr).all():
        indices = indices[np.lexsort((indices, np.repeat(np.arange(users), np.diff(indptr))))]
    return indptr, indices


def _check(items: int, k: int, allowed_I: Bools | None, indices: I64) -> None:
    if allowed_I is not None and (allowed_I.shape != (items,) or allowed_I.dtype != np.bool_):
        raise TopKError(f"allowed is {allowed_I.dtype} {allowed_I.shape}; expected bool ({items},)")
    if k < 1:
        raise TopKError(f"k is {k}; a list needs at least one item")
    if len(indices) and not 0 <= indices.min() <= indices.max() < items:
        raise TopKError(f"seen names items {indices.min()}..{indices.max()}; there are 0..{items - 1}")


def _check_factors(users_UD: F32, items_ID: F32, bias_I: F32) -> tuple[F64, F64]:
    """The lengths of all vectors."""
    if users_UD.ndim != 2 or items_ID.ndim != 2 or users_UD.shape[1] != items_ID.shape[1]:
        raise TopKError(f"users {users_UD.shape} and items {items_ID.shape} must be U x D and I x D with one D")
    if bias_I.shape != (len(items_ID),):
        raise TopKError(f"bias has shape {bias_I.shape}; expected one number for each of {len(items_ID)} items")
    # One bound (Cauchy-Schwarz) covers NaN, infinities and overflow, so that no block needs a look for them.
    norm_U, norm_I = (_norms(rows) for rows in (users_UD, items_ID))
    largest = norm_U.max(initial=0) * norm_I.max(initial=0) + float(np.abs(bias_I).max(initial=0))
    if not largest < float(np.finfo(np.float32).max) / 2:
        raise TopKError(
            f"scores could reach {largest:.3g}; users, items and bias must be finite float32, not near its end"
        )
    return norm_U, norm_I


def _norms(rows_ND: F32) -> F64:
    if topk_device.is_tensor(rows_ND):
        return topk_device.norms(rows_ND)
    found: F64 = np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND, dtype=np.float64))
    return found


def _unpacked(keys_BK: I64) -> tuple[I32, F32]:
    """Keys of nightloom.topk.screen as item ids and scores."""
    ordered = (keys_BK >> 32).astype(np.int32)
    scores_BK = np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).view(np.float32)
    some = np.isfinite(scores_BK)
    return np.where(some, LOW - (keys_BK & LOW), -1).astype(np.int32), np.where(some, scores_BK, np.float32(-np.inf))
