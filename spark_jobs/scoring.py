"""Histories -> each user's exact top-K of a saved model, on Spark's Python workers. Shapes: B users, I items."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

import models
from models.base import I32, Histories, Model, positions
from models.recommend import recommend
from nightloom.topk import Bools
from spark_jobs.sent_model import SentModel

LISTS = "user_id string, items array<string>, scores array<float>"
SCHEMA = pa.schema([("user_id", pa.string()), ("items", pa.list_(pa.string())), ("scores", pa.list_(pa.float32()))])


def score(
    batches: Iterator[pa.RecordBatch], sent: SentModel, hidden: Collection[str], length: int
) -> Iterator[pa.RecordBatch]:
    """Batches of (user_id, items, weights, seconds, attributes) -> batches of LISTS: nothing touched, nothing hidden.

    A user has fewer than `length` items only where the model knows no more.
    """
    folder = sent.here()
    model, known = loaded(folder), item_places(folder)
    allowed_I = np.ones(len(known), np.bool_)
    allowed_I[[known[item] for item in hidden if item in known]] = False
    for batch in batches:
        if batch.num_rows:
            yield lists(model, known, batch, allowed_I, length)


def lists(
    model: Model, known: Mapping[str, int], batch: pa.RecordBatch, allowed_I: Bools, length: int
) -> pa.RecordBatch:
    """One batch, see score(); `known` has the place of each item in the model's order."""
    items_N = places(batch["items"], known)
    seen = seen_items(batch["items"], items_N, len(known))
    found_BK, scores_BK = recommend(model, histories(batch, items_N), length, seen=seen, allowed_I=allowed_I)
    there = found_BK >= 0
    items, scores = pa.array(model.item_ids[found_BK[there]], pa.string()), pa.array(scores_BK[there], pa.float32())
    return pa.RecordBatch.from_arrays([batch["user_id"], *by_rows(there, items, scores)], schema=SCHEMA)


def places(touched: pa.ListArray, known: Mapping[str, int]) -> I32:
    """The place of each item of all histories, -1 for one that is not known; only the batch's items are looked up."""
    items = touched.flatten().dictionary_encode()
    found = (known.get(item, -1) for item in items.dictionary.to_pylist())
    place: I32 = np.fromiter(found, np.int32, len(items.dictionary))[items.indices.to_numpy()]
    return place


def histories(batch: pa.RecordBatch, items_N: I32) -> Histories:
    """The histories of a batch; `items_N` are the places of its items in the model's order, -1 for others."""
    rows = pc.list_parent_indices(batch["items"]).to_numpy()
    weights, seconds = (batch[name].flatten().to_numpy() for name in ("weights", "seconds"))
    return Histories.from_sorted(batch.num_rows, rows, items_N, weights, seconds, batch["attributes"].to_pylist())


def seen_items(touched: pa.ListArray, items_N: I32, items: int) -> csr_array:
    """B x `items`: the items of each history, liked or not."""
    rows = pc.list_parent_indices(touched).to_numpy()
    found = np.unique(np.stack([rows, items_N])[:, items_N >= 0], axis=1)
    return csr_array((np.ones(found.shape[1], np.bool_), (found[0], found[1])), shape=(len(touched), items))


def by_rows(there_BK: Bools, *values: pa.Array) -> list[pa.Array]:
    """Values, one for each place that is taken, row by row -> a list for each row."""
    ends = pa.array(np.concatenate([[0], np.cumsum(there_BK.sum(axis=1))]), pa.int32())
    return [pa.ListArray.from_arrays(ends, each) for each in values]


@cache
def loaded(folder: str) -> Model:
    """Once per worker process; its arrays are mapped, so the workers of a machine share them."""
    return models.load(Path(folder))


@cache
def item_places(folder: str) -> Mapping[str, int]:
    """Place of each item in a model's order, once per worker process: a task has 5,000 users, a model many items."""
    return positions(loaded(folder).item_ids)
