"""Exact top-K: user vectors x item matrix (+ item bias), or given score rows -> the K best items of each user.

`topk` works on blocks of users x items, so no score row is ever whole in memory; `topk_of_scores` selects in the same
way from rows that something else scored. Shapes: U users, I items, D factors, K list length, B users of a block,
C items of a block.

Order: higher score first, then lower item index, also where the K-th score is shared: (score, index) pairs are packed
into one int64 key, so selection and order are one integer comparison and a tie cannot fall differently by chance.
Scores are float32 products; two that differ by less than float32 rounding may change places with another BLAS.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from nightloom.errors import NightloomError

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]
Seen: TypeAlias = csr_matrix | csr_array | tuple[NDArray[np.integer], NDArray[np.integer]]
"""Items excluded per user: a U x I sparse matrix, or its (indptr, indices)."""

USERS_PER_BLOCK, ITEMS_PER_BLOCK = 512, 4096  # 8 MiB of scores and 16 MiB of keys: measured on a 2-core laptop
NOTHING = np.iinfo(np.int64).min  # the key of an excluded item: below every possible score
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
) -> tuple[I32, F32]:
    """The k best items of every user, best first: (ids_UK int32, scores_UK float32).

    `seen` items are left out for their user, items outside `allowed_I` for everybody. A user with fewer than k items
    left gets id -1 and score -inf in the rest of the row. Raises TopKError where shapes differ, or where a value is
    NaN, infinite, or so large that a score would be.
    """
    users_UD, items_ID = np.asarray(users_UD, np.float32), np.asarray(items_ID, np.float32)
    bias_I = np.zeros(len(items_ID), np.float32) if bias_I is None else np.asarray(bias_I, np.float32)
    _check_factors(users_UD, items_ID, bias_I)

    def blocks(users: slice) -> Iterator[F32]:
        return (users_UD[users] @ items_ID[part].T + bias_I[part] for part in _parts(len(items_ID)))

    return _selected(blocks, (len(users_UD), len(items_ID)), k, seen, allowed_I)


def topk_of_scores(
    scores_UI: F32, k: int, *, seen: Seen | None = None, allowed_I: Bools | None = None
) -> tuple[I32, F32]:
    """The same for whole score rows; give it as many users at a time as fit into memory."""
    scores_UI = np.asarray(scores_UI, np.float32)
    if scores_UI.ndim != 2 or not np.isfinite(scores_UI).all():
        raise TopKError(f"scores {scores_UI.shape} must be U x I, finite float32")

    def blocks(users: slice) -> Iterator[F32]:
        return (scores_UI[users, part] for part in _parts(scores_UI.shape[1]))

    return _selected(blocks, scores_UI.shape, k, seen, allowed_I)


def _parts(items: int) -> list[slice]:
    return [slice(c, c + ITEMS_PER_BLOCK) for c in range(0, items, ITEMS_PER_BLOCK)]


def _selected(
    blocks: Callable[[slice], Iterator[F32]], shape: tuple[int, int], k: int, seen: Seen | None, allowed_I: Bools | None
) -> tuple[I32, F32]:
    """`blocks` gives the scores of some users, B x C, all items from left to right."""
    indptr, indices = _excluded(seen, shape[0])
    _check(shape[1], k, allowed_I, indices)
    best_UK = np.full((shape[0], k), NOTHING, np.int64)
    for u in range(0, shape[0], USERS_PER_BLOCK):
        best_BK = best_UK[u : u + USERS_PER_BLOCK]
        ends = indptr[u : u + len(best_BK) + 1]
        rows, columns = np.repeat(np.arange(len(best_BK)), np.diff(ends)), indices[ends[0] : ends[-1]]
        for part, scores_BC in zip(_parts(shape[1]), blocks(slice(u, u + len(best_BK))), strict=True):
            keys_BC = _keys(scores_BC, part.start)
            if allowed_I is not None:
                keys_BC[:, ~allowed_I[part]] = NOTHING
            here = (columns >= part.start) & (columns < part.stop)
            keys_BC[rows[here], columns[here] - part.start] = NOTHING
            best_BK[:] = _largest(np.concatenate([best_BK, keys_BC], axis=1), k)
    best_UK.sort(axis=1)
    return _unpacked(best_UK[:, ::-1])


def _excluded(seen: Seen | None, users: int) -> tuple[I64, I64]:
    if seen is None:
        return np.zeros(users + 1, np.int64), np.empty(0, np.int64)
    indptr, indices = seen if isinstance(seen, tuple) else (seen.indptr, seen.indices)
    if len(indptr) != users + 1:
        raise TopKError(f"seen has {len(indptr) - 1} rows for {users} users; give one row per user, empty or not")
    return np.asarray(indptr, np.int64), np.asarray(indices, np.int64)


def _check(items: int, k: int, allowed_I: Bools | None, indices: I64) -> None:
    if allowed_I is not None and (allowed_I.shape != (items,) or allowed_I.dtype != np.bool_):
        raise TopKError(f"allowed is {allowed_I.dtype} {allowed_I.shape}; expected bool ({items},)")
    if k < 1:
        raise TopKError(f"k is {k}; a list needs at least one item")
    if len(indices) and not 0 <= indices.min() <= indices.max() < items:
        raise TopKError(f"seen names items {indices.min()}..{indices.max()}; there are 0..{items - 1}")


def _check_factors(users_UD: F32, items_ID: F32, bias_I: F32) -> None:
    if users_UD.ndim != 2 or items_ID.ndim != 2 or users_UD.shape[1] != items_ID.shape[1]:
        raise TopKError(f"users {users_UD.shape} and items {items_ID.shape} must be U x D and I x D with one D")
    if bias_I.shape != (len(items_ID),):
        raise TopKError(f"bias has shape {bias_I.shape}; expected one number for each of {len(items_ID)} items")
    # One bound (Cauchy-Schwarz) covers NaN, infinities and overflow, so that no block needs a look for them.
    largest = _norm(users_UD) * _norm(items_ID) + float(np.abs(bias_I).max(initial=0))
    if not largest < float(np.finfo(np.float32).max) / 2:
        raise TopKError(
            f"scores could reach {largest:.3g}; users, items and bias must be finite float32, not near its end"
        )


def _norm(rows_ND: F32) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND, dtype=np.float64)).max(initial=0))


def _keys(scores_BC: F32, first: int) -> I64:
    """Packs score and item index so that the larger key is the better item."""
    bits = (scores_BC + np.float32(0)).view(np.int32)  # + 0 turns -0.0 into 0.0: they are equal, so must be their bits
    ordered = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)  # the integer order of floats of either sign
    return (ordered.astype(np.int64) << 32) | (LOW - np.arange(first, first + scores_BC.shape[1]))


def _largest(keys_BN: I64, k: int) -> I64:
    return np.partition(keys_BN, keys_BN.shape[1] - k, axis=1)[:, -k:]


def _unpacked(keys_UK: I64) -> tuple[I32, F32]:
    empty = keys_UK == NOTHING
    ordered = (keys_UK >> 32).astype(np.int32)
    bits = np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered)
    ids_UK = np.where(empty, -1, LOW - (keys_UK & LOW)).astype(np.int32)
    return ids_UK, np.where(empty, np.float32(-np.inf), bits.view(np.float32))
