"""One batch of histories -> exact top-K lists, on a Spark worker. A module of its own, so that workers import it by name.

The champion's files lie on the machine; the item matrix is mapped, so the workers of a machine share one copy.
Shapes: B users of a batch, N events, I items of the model's order, K list length.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nightloom.topk import topk
from training import models
from training.models.base import Histories, Model

LISTS = "user_id string, items array<string>, scores array<float>"
SCHEMA = pa.schema([("user_id", pa.string()), ("items", pa.list_(pa.string())), ("scores", pa.list_(pa.float32()))])

load = cache(models.load)  # once a worker process, which serves many batches


def score(
    batches: Iterator[pa.RecordBatch], folder: Path, allowed_I: NDArray[np.bool_], k: int
) -> Iterator[pa.RecordBatch]:
    """Batches of (user_id, items, weights, at) -> batches of LISTS, best first, the k best that a user has not touched."""
    model = load(folder)
    for batch in batches:
        if batch.num_rows:
            yield _lists(model, batch, allowed_I, k)


def _lists(model: Model, batch: pa.RecordBatch, allowed_I: NDArray[np.bool_], k: int) -> pa.RecordBatch:
    item_ids = pa.array(model.item_ids, pa.string())
    rows_N = np.asarray(pc.list_parent_indices(batch["items"]))
    items_N = pc.index_in(batch["items"].flatten().cast(pa.string()), item_ids).fill_null(-1).to_numpy()
    known = items_N >= 0
    rows_N, items_N = rows_N[known], items_N[known]
    weights_N = batch["weights"].flatten().to_numpy()[known]
    times_N = batch["at"].flatten().cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()[known]
    liked = weights_N > 0
    histories = Histories.from_events(
        batch.num_rows, rows_N[liked], items_N[liked], weights_N[liked], times_N[liked]
    )
    indptr = np.zeros(batch.num_rows + 1, np.int64)
    np.cumsum(np.bincount(rows_N, minlength=batch.num_rows), out=indptr[1:])
    ids_BK, scores_BK = topk(
        model.encode(histories), model.items_ID, k, bias_I=model.bias_I, seen=(indptr, items_N), allowed_I=allowed_I
    )
    listed = ids_BK >= 0
    offsets = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int32)
    lists = [
        batch["user_id"].cast(pa.string()),
        pa.ListArray.from_arrays(offsets, item_ids.take(pa.array(ids_BK[listed]))),
        pa.ListArray.from_arrays(offsets, pa.array(scores_BK[listed])),
    ]
    return pa.RecordBatch.from_arrays(lists, schema=SCHEMA)
