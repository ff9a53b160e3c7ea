"""Weights between items, which EASE, the graph filter and item-to-item train: what a like of one adds to the other.

Scores are sums over a history, so contributions are exact. Shapes: B users or items of a block, I items, N events.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array, vstack

from models.base import F32, I64, Examples, Histories, Params, Report, Strings, item_index, read, write
from models.popularity import decayed_likes
from nightloom.topk import topk_of_scores

ITEMS_PER_BLOCK, CELLS_PER_BLOCK = 128, 1 << 24  # whichever is less: small blocks stay near the cores


class ItemWeightsParams(Params):
    popularity: float = Field(0.001, ge=0)
    """How much the logarithm of what is popular adds to a score; alone it ranks for a cold user."""
    popularity_half_life_days: float = Field(10.0, gt=0)
    """After this many days a like counts half in what is popular."""


@dataclass(frozen=True)
class ItemWeights:
    """A model that a subclass trains: it gives the weights to of()."""

    name: ClassVar[str]
    params_type: ClassVar[type[ItemWeightsParams]]
    params: ItemWeightsParams
    item_ids: Strings
    weights_II: F32 | csr_array
    """Row i: what a like of item i adds to the score of each item."""
    bias_I: F32

    @classmethod
    def of(cls, params: ItemWeightsParams, examples: Examples, weights_II: F32 | csr_array) -> Self:
        """With what is popular as of the cut."""
        popular_I = np.log1p(decayed_likes(examples, params.popularity_half_life_days))
        return cls(params, examples.item_ids, weights_II, np.float32(params.popularity) * popular_I)

    def scores(self, histories: Histories) -> F32:
        summed_BI = histories.matrix(len(self.item_ids)) @ self.weights_II
        return np.asarray(
            (summed_BI if isinstance(summed_BI, np.ndarray) else summed_BI.toarray()) + self.bias_I, np.float32
        )

    def contributions(self, history: Histories, item: int) -> F32:
        """Exact: the score less the bias is a sum over the likes."""
        weights_N = np.asarray(self.weights_II[history.items, np.full_like(history.items, item)])
        return np.asarray(history.weights * weights_N, np.float32)

    def save(self, folder: Path) -> None:
        if isinstance(self.weights_II, np.ndarray):
            write(folder, self, bias=self.bias_I, weights=self.weights_II)
        else:
            weights_of = self.weights_II
            write(
                folder,
                self,
                bias=self.bias_I,
                weights=weights_of.data,
                weights_indices=weights_of.indices,
                weights_indptr=weights_of.indptr,
            )

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        weights, item_ids = arrays["weights"], arrays["item_ids"]
        if "weights_indptr" in arrays:
            rows = (weights, arrays["weights_indices"], arrays["weights_indptr"])
            weights = csr_array(rows, shape=(len(item_ids), len(item_ids)))
        return cls(cls.params_type(**params), item_ids, weights, arrays["bias"])


@dataclass(frozen=True)
class Weighing:
    """What decides the weights between all items; both give B x I for the B items of a block."""

    adds: Callable[[I64], F32]
    """What a like of each item of the block adds to the score of each item."""
    gets: Callable[[I64], F32]
    """What a like of each item adds to the score of each item of the block."""


class NeighbourParams(ItemWeightsParams):
    neighbours: int = Field(100, ge=1)
    """Nearest items kept for each item."""


class NeighbourWeights(ItemWeights):
    """A model with the largest weights of each item only; a subclass says how items are weighed."""

    params: NeighbourParams

    @classmethod
    def weighing(cls, examples: Examples, params: Any) -> Weighing:
        """How the items of these examples are weighed."""
        raise NotImplementedError

    @classmethod
    def fit(cls, examples: Examples, params: Any, report: Report) -> Self:
        """One pass; nothing to report."""
        adds = cls.weighing(examples, params).adds
        return cls.of(params, examples, nearest(len(examples.item_ids), params.neighbours, adds))

    def extended(self, examples: Examples) -> Self:
        """New items get the weights that a training would give them; those between known items stay.

        A new item is a neighbour of the known items that add most to it, as many as an item has neighbours.
        """
        index, items = item_index(examples.item_ids, self.item_ids), len(examples.item_ids)
        new, weighing = np.flatnonzero(index < 0), self.weighing(examples, self.params)
        known = csr_array(self.weights_II).tocoo()
        back = item_index(self.item_ids, examples.item_ids)
        kept = (back[known.row] >= 0) & (back[known.col] >= 0)
        places = back[known.row[kept]], back[known.col[kept]]
        weights_II = csr_array((known.data[kept], places), shape=(items, items), dtype=np.float32)
        if len(new):
            add_NI, get_NI = (
                nearest(items, self.params.neighbours, each, new).tocoo() for each in (weighing.adds, weighing.gets)
            )
            old = index[get_NI.col] >= 0  # between two new items the first array has the weights
            rows = np.concatenate([new[add_NI.row], get_NI.col[old]])
            columns = np.concatenate([add_NI.col, new[get_NI.row[old]]])
            values = np.concatenate([add_NI.data, get_NI.data[old]])
            weights_II = csr_array(weights_II + csr_array((values, (rows, columns)), shape=(items, items)))
        return self.of(self.params, examples, weights_II)


def nearest(items: int, neighbours: int, weights_of: Callable[[I64], F32], chosen: I64 | None = None) -> csr_array:
    """N x I: for each chosen item (all by default) its `neighbours` largest weights, no negative one, none to itself.

    `weights_of` gives the weights of some items to all, B x I, so that no full I x I array is ever in memory.
    """
    step = max(1, min(ITEMS_PER_BLOCK, CELLS_PER_BLOCK // items))
    rows_N = np.arange(items) if chosen is None else chosen

    def rows(start: int) -> csr_array:
        block = rows_N[start : start + step]
        itself = csr_array((np.ones(len(block)), block, np.arange(len(block) + 1)), shape=(len(block), items))
        ids_BK, weights_BK = topk_of_scores(weights_of(block), min(neighbours, items), seen=itself)
        kept = (ids_BK >= 0) & (weights_BK > 0)
        ends = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        return csr_array((weights_BK[kept], ids_BK[kept], ends), shape=itself.shape)

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # numpy and scipy work outside Python's lock
        return csr_array(vstack(list(threads.map(rows, range(0, len(rows_N), step)))))
