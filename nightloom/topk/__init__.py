"""Exact top-K: user vectors x item matrix (+ item bias), or score rows -> the K best items of each user.

`topk` stores no score row: items are sorted, screened by 8-bit integer products with a proven error bound, and only the
items within the bound are scored (nightloom/topk/screen.py; docs/topk.md explains the method and its speed).
`topk_of_scores` selects in the same way from given score rows. Shapes: U users, I items, A allowed items, S the allowed
items in sorted order, D factors, B users of a block, K list length.

Order: higher score first, then lower item index, also among items that share the K-th score. A score is the float64
product rounded to float32. So a user's list does not depend on the batch or on the number of threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from nightloom.errors import NightloomError
from nightloom.topk import device as topk_device

if TYPE_CHECKING:
    from nightloom.topk.operands import Screen  # numba, imported on first use

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Keys: TypeAlias = Callable[[slice, I64], I64]
"""(slice of B users, their B + 1 offsets into the seen items) -> keys of their best items, B x K."""
SeenItems: TypeAlias = csr_matrix | csr_array | tuple[NDArray[np.integer], NDArray[np.integer]]
"""Items to leave out per user: a U x I sparse matrix, or its (indptr, indices)."""

USERS_PER_BLOCK = 504  # of one thread: many users share an item while it is in the cache
KEYS_PER_BLOCK = 1 << 20  # limits the users of a block if lists are long: 16 MiB of keys
ID_MASK = np.int64(0xFFFFFFFF)


class TopKError(NightloomError):
    """Arguments have shapes that do not match, or values that have no order."""


def topk(
    users_UD: F32,
    items_ID: F32,
    k: int,
    *,
    bias_I: F32 | None = None,
    seen: SeenItems | None = None,
    allowed_I: Bools | None = None,
    screen: "Screen | None" = None,
) -> tuple[I32, F32]:
    """The k best items of every user, best first: (ids_UK int32, scores_UK float32).

    `seen` items are left out for their user, items outside `allowed_I` for all users. If fewer than k items are left,
    the rest of the row has id -1 and score -inf. Torch tensors are scored on their device (nightloom/topk/device.py).
    `screen` is for tests: by default it is the fastest one of this processor. Raises TopKError if shapes do not
    match, or if a value is NaN, infinite, or so large that a score could be.
    """
    tensors = topk_device.is_tensor(users_UD)
    if not tensors:
        users_UD, items_ID = (np.ascontiguousarray(rows, np.float32) for rows in (users_UD, items_ID))
    bias_I = np.zeros(len(items_ID), np.float32) if bias_I is None else np.asarray(bias_I, np.float32)
    norm_U, norm_I = check_factors(users_UD, items_ID, bias_I)
    indptr, indices = seen_items(seen, len(users_UD))
    _check(len(items_ID), k, allowed_I, indices)
    ids_A = np.arange(len(items_ID)) if allowed_I is None else np.flatnonzero(allowed_I)
    length = min(k, len(ids_A))
    if tensors:
        allowed_bias_I = np.full(len(items_ID), -np.inf, np.float32)
        allowed_bias_I[ids_A] = bias_I[ids_A]
        step = topk_device.SCORES_PER_BLOCK // max(len(items_ID), 1)

        def on_device(users: slice, ends: I64) -> I64:
            return topk_device.top_keys_of_block(users_UD[users], items_ID, allowed_bias_I, ends, indices, length)

        return _select_in_blocks(on_device, len(users_UD), k, length, indptr, step, threads=1)
    keys = _screened_keys(users_UD, items_ID, bias_I, ids_A, (norm_U, norm_I), indices, length, screen)
    return _select_in_blocks(
        keys, len(users_UD), k, length, indptr, min(USERS_PER_BLOCK, KEYS_PER_BLOCK // max(length, 1))
    )


def topk_of_scores(
    scores_UI: F32, k: int, *, seen: SeenItems | None = None, allowed_I: Bools | None = None
) -> tuple[I32, F32]:
    """Like topk(), from score rows (U x I): (ids_UK int32, scores_UK float32). The caller limits U to fit memory."""
    scores_UI = np.ascontiguousarray(scores_UI, np.float32)
    if scores_UI.ndim != 2 or not np.isfinite(scores_UI).all():
        raise TopKError(f"scores {scores_UI.shape} must be U x I, finite float32")
    users, items = scores_UI.shape
    indptr, indices = seen_items(seen, users)
    _check(items, k, allowed_I, indices)
    from nightloom.topk.screen import top_keys_of_rows

    allowed_I = np.ones(items, np.bool_) if allowed_I is None else allowed_I
    length = min(k, items)

    def keys(rows: slice, ends: I64) -> I64:
        return top_keys_of_rows(scores_UI[rows], allowed_I, ends, indices, length)

    return _select_in_blocks(keys, users, k, length, indptr, min(USERS_PER_BLOCK, KEYS_PER_BLOCK // max(length, 1)))


def _screened_keys(
    users_UD: F32, items_ID: F32, bias_I: F32, ids_A: I64, norms: tuple[F64, F64], indices: I64, length: int,
    screen: "Screen | None",
) -> Keys:  # fmt: skip
    """Prepare the screen: items sorted by the largest score that a user of median norm could give them."""
    from nightloom.topk import operands as topk_operands  # numba, imported on first use
    from nightloom.topk import screen as topk_screen

    norm_U, norm_I = norms
    if users_UD.shape[1] > topk_operands.MAX_FACTORS:
        screen = "float32"
    screen = screen or topk_operands.SCREENS[0]
    median_norm = float(np.median(norm_U)) if len(norm_U) else 0.0
    ids_S = ids_A[np.argsort(-(median_norm * norm_I[ids_A] + bias_I[ids_A]), kind="stable")]
    items = topk_operands.prepare_items(ids_S, items_ID[ids_S], bias_I[ids_S], screen)
    by_bias_S = np.lexsort((ids_S, -bias_I[ids_S])) if (norm_U == 0).any() else ids_S[:0]
    place_I = np.full(len(items_ID), len(items_ID))
    place_I[ids_S] = np.arange(len(ids_S))

    def keys(users: slice, ends: I64) -> I64:
        exclusions = topk_screen.Exclusions(ends, indices, place_I, by_bias_S)
        return topk_screen.screen_users(topk_operands.prepare_users(users_UD[users], screen), items, exclusions, length)

    return keys


def _select_in_blocks(
    keys: Keys, users: int, k: int, length: int, indptr: I64, step: int, threads: int | None = None
) -> tuple[I32, F32]:
    """Fill the lists block by block, in threads; `keys` gives a block's B x `length` keys, in any order."""
    ids_UK, scores_UK = np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)
    threads = threads or len(os.sched_getaffinity(0))
    step = max(1, min(step, -(-users // threads)))

    def fill(first: int) -> None:
        block = slice(first, min(first + step, users))
        keys_BK = np.sort(keys(block, indptr[block.start : block.stop + 1]), axis=1)[:, ::-1]
        ids_UK[block, :length], scores_UK[block, :length] = _unpack(keys_BK)

    if length:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(0, users, step)))
    return ids_UK, scores_UK


def seen_items(seen: SeenItems | None, users: int) -> tuple[I64, I64]:
    """(indptr, indices) of the seen items, each user's ascending."""
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


def check_factors(users_UD: F32, items_ID: F32, bias_I: F32) -> tuple[F64, F64]:
    """Check shapes and values -> the norms of user and item vectors."""
    if users_UD.ndim != 2 or items_ID.ndim != 2 or users_UD.shape[1] != items_ID.shape[1]:
        raise TopKError(f"users {users_UD.shape} and items {items_ID.shape} must be U x D and I x D with one D")
    if bias_I.shape != (len(items_ID),):
        raise TopKError(f"bias has shape {bias_I.shape}; expected one number for each of {len(items_ID)} items")
    # One bound (Cauchy-Schwarz) rules out NaN, infinities and overflow, so no block has to check for them.
    norm_U, norm_I = (_norms(rows) for rows in (users_UD, items_ID))
    largest = norm_U.max(initial=0) * norm_I.max(initial=0) + float(np.abs(bias_I).max(initial=0))
    if not largest < float(np.finfo(np.float32).max) / 2:
        raise TopKError(
            f"scores could reach {largest:.3g}; users, items and bias must be finite and far below the largest float32"
        )
    return norm_U, norm_I


def _norms(rows_ND: F32) -> F64:
    if topk_device.is_tensor(rows_ND):
        return topk_device.norms(rows_ND)
    norms_N: F64 = np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND, dtype=np.float64))
    return norms_N


def _unpack(keys_BK: I64) -> tuple[I32, F32]:
    """Keys of nightloom.topk.screen as item ids and scores."""
    ordered = (keys_BK >> 32).astype(np.int32)
    scores_BK = np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).view(np.float32)
    valid = np.isfinite(scores_BK)
    ids_BK = np.where(valid, ID_MASK - (keys_BK & ID_MASK), -1).astype(np.int32)
    return ids_BK, np.where(valid, scores_BK, np.float32(-np.inf))
