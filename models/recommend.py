"""Histories -> scores or lists, by a model of either shape. Shapes: B users, I items, K list length."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from models.base import F32, I32, I64, FactorModel, Histories, MixedModel, Model
from nightloom.topk import Bools, topk, topk_of_scores


def scores(model: Model, histories: Histories) -> F32:
    """B x I of either shape; give it as many users at a time as fit into memory."""
    if isinstance(model, FactorModel):
        bias_I = np.float32(0) if model.bias_I is None else model.bias_I
        return np.asarray(model.encode(histories) @ model.items_ID.T + bias_I, np.float32)
    return model.scores(histories)


SCORES_PER_BLOCK = 1 << 24  # 64 MiB of them; a block model holds a few such arrays


def recommend(
    model: Model,
    histories: Histories,
    k: int,
    *,
    seen: csr_array | None = None,
    allowed_I: Bools | None = None,
) -> tuple[I32, F32]:
    """Each user's k best items as nightloom.topk gives them: (ids_BK int32, -1 where none is left; scores_BK).

    The only way to lists for either shape, in bounded memory. `seen` (B x I, what is stored) is left out for its user,
    items outside `allowed_I` for everybody.
    """
    if isinstance(model, FactorModel):
        users_BD = model.encode(histories)
        return topk(users_BD, model.items_ID, k, bias_I=model.bias_I, seen=seen, allowed_I=allowed_I)
    rows, step = np.arange(len(histories)), max(1, SCORES_PER_BLOCK // len(model.item_ids))
    ids_BK, scores_BK = np.empty((len(rows), k), np.int32), np.empty((len(rows), k), np.float32)
    for block in (slice(start, start + step) for start in range(0, len(rows), step)):
        found = model.scores(histories.of(rows[block]))
        known = None if seen is None else seen[block]
        ids_BK[block], scores_BK[block] = topk_of_scores(found, k, seen=known, allowed_I=allowed_I)
    return ids_BK, scores_BK


ITEMS_AT_A_TIME = 16_384


def similar_items(model: Model, k: int, allowed_I: Bools, items_N: I32) -> Iterator[tuple[I32, I32, F32]]:
    """For each of N items the k others that gain most by it: blocks (items_B, ids_BK, lift_BK), as recommend() gives.

    They are ranked by the lift for somebody who likes only this item, at the same moment (0) whatever the night is. By
    their scores popular items would be similar to every item. For EASE and the neighbours of items the lift is the
    weight between both.
    """
    count = len(model.item_ids)
    step = ITEMS_AT_A_TIME if isinstance(model, FactorModel) else max(1, SCORES_PER_BLOCK // count)
    for start in range(0, len(items_N), step):
        items_B = items_N[start : start + step]
        every = np.arange(len(items_B) + 1, dtype=np.int64)
        one = np.ones(len(items_B), np.float32)
        liked = Histories(every, items_B, one, np.zeros(len(items_B), np.int64))
        itself = csr_array((one.astype(np.bool_), items_B, every), shape=(len(items_B), count))
        if isinstance(model, FactorModel):
            users_BD = model.encode(liked) - model.encode(_nobody(model))
            yield items_B, *topk(users_BD, model.items_ID, k, seen=itself, allowed_I=allowed_I)
        else:
            yield items_B, *topk_of_scores(lift(model, liked), k, seen=itself, allowed_I=allowed_I)


def lift(model: Model, histories: Histories) -> F32:
    """B x I: how much higher items are scored for these histories than for somebody without history and features."""
    if isinstance(model, MixedModel):
        return model.lift(histories)
    return scores(model, histories) - scores(model, _nobody(model))


def _nobody(model: Model) -> Histories:
    return Histories.from_lists(model.item_ids, [[]], [[]], [[]])


class Ranker(Protocol):
    """The k best items of some users (`rows`), among those allowed to all of them: as recommend() gives them."""

    def __call__(self, k: int, rows: I64, allowed_I: Bools) -> tuple[I32, F32]: ...


class Search(Protocol):
    """nightloom.topk.topk, or what gives the same lists."""

    def __call__(
        self,
        users_UD: F32,
        items_ID: F32,
        k: int,
        *,
        bias_I: F32 | None = None,
        seen: csr_array | None = None,
        allowed_I: Bools | None = None,
    ) -> tuple[I32, F32]: ...


def ranker(model: Model, histories: Histories, seen: csr_array, search: Search = topk) -> Ranker:
    """recommend() for several selections of the same users: a factor model encodes them once.

    Where few items are allowed, only these are scored. `search` finds the best items of a factor model.
    """
    if not isinstance(model, FactorModel):
        return lambda k, rows, allowed_I: recommend(model, histories.of(rows), k, seen=seen[rows], allowed_I=allowed_I)
    users_BD, items_ID, bias_I = model.encode(histories), model.items_ID, model.bias_I

    def best(k: int, rows: I64, allowed_I: Bools) -> tuple[I32, F32]:
        if 2 * allowed_I.sum() > len(allowed_I):
            return search(users_BD[rows], items_ID, k, bias_I=bias_I, seen=seen[rows], allowed_I=allowed_I)
        few = np.flatnonzero(allowed_I)
        bias = None if bias_I is None else bias_I[few]
        found, scores = search(users_BD[rows], items_ID[few], k, bias_I=bias, seen=seen[rows][:, few])
        return np.where(found >= 0, few[found], -1).astype(np.int32), scores

    return best
