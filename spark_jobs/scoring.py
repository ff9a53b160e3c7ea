"""Histories -> each user's exact top-K of a saved model, on Spark's Python workers. Shapes: B users, I items."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

import models
from models.base import Histories, Model, positions
from models.recommend import recommend
from nightloom.topk import Bools

LISTS = "user_id string, items array<string>, scores array<float>"
SCHEMA = pa.schema([("user_id", pa.string()), ("items", pa.list_(pa.string())), ("scores", pa.list_(pa.float32()))])


def score(
    batches: Iterator[pa.RecordBatch], folder: str, hidden: Collection[str], length: int
) -> Iterator[pa.RecordBatch]:
    """Batches of (user_id, items, weights, seconds, attributes) -> batches of LISTS: nothing touched, nothing hidden.

    A user has fewer than `length` items only where the model knows no more. `folder` is a model's, on this machine.
    """
    for batch in batches:
        if batch.num_rows:
            yield lists(loaded(folder), batch, hidden, length)


def lists(model: Model, batch: pa.RecordBatch, hidden: Collection[str], length: int) -> pa.RecordBatch:
    """One batch, see score()."""
    touched = batch["items"].to_pylist()
    weights, seconds, attributes = (batch[name].to_pylist() for name in ("weights", "seconds", "attributes"))
    liked = Histories.from_lists(model.item_ids, touched, weights, seconds, attributes)
    allowed_I = ~np.isin(model.item_ids, list(hidden))
    found_BK, scores_BK = recommend(model, liked, length, seen=_seen(model, touched), allowed_I=allowed_I)
    there = found_BK >= 0
    items, scores = pa.array(model.item_ids[found_BK[there]], pa.string()), pa.array(scores_BK[there], pa.float32())
    return pa.RecordBatch.from_arrays([batch["user_id"], *by_rows(there, items, scores)], schema=SCHEMA)


def _seen(model: Model, touched: list[list[str]]) -> csr_array:
    """B x I: the items of each history, liked or not."""
    known = positions(model.item_ids)
    rows = [[known[item] for item in set(items) if item in known] for items in touched]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    indices = np.fromiter((index for row in rows for index in row), np.int64, count=int(indptr[-1]))
    return csr_array((np.ones(len(indices), np.bool_), indices, indptr), shape=(len(rows), len(known)))


def by_rows(there_BK: Bools, *values: pa.Array) -> list[pa.Array]:
    """Values, one for each place that is taken, row by row -> a list for each row."""
    ends = pa.array(np.concatenate([[0], np.cumsum(there_BK.sum(axis=1))]), pa.int32())
    return [pa.ListArray.from_arrays(ends, each) for each in values]


@cache
def loaded(folder: str) -> Model:
    """Once per worker process; its arrays are mapped, so the workers of a machine share them."""
    return models.load(Path(folder))
