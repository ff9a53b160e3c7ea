"""Histories -> each user's list by the slate rules, on Spark's Python workers; and what each rule did. See scoring.py.

The rules come compiled (nightloom.slate.plan.Plan); a task puts them in its model's item order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from models.base import Histories, Model
from models.recommend import ranker
from nightloom.slate.apply import Block, Slates, Users
from nightloom.slate.plan import Plan
from spark_jobs.scoring import LISTS, SCHEMA, by_rows, loaded

RULED = f"{LISTS}, done array<double>"
RULED_SCHEMA = SCHEMA.append(pa.field("done", pa.list_(pa.float64())))
PER_RULE = 4
"""Numbers of each rule in `done`: lists changed, entries brought to first pages, score and relevance that they lost."""


def score(batches: Iterator[pa.RecordBatch], folder: str, plan: Plan) -> Iterator[pa.RecordBatch]:
    """Batches as in scoring.score() -> batches of RULED: `done` of a batch's first row is the whole batch's.

    That is PER_RULE numbers for each rule, and then the relevance of all first pages by score alone.
    """
    model = loaded(folder)
    mine = plan.of(model.item_ids)
    for batch in batches:
        if batch.num_rows:
            yield lists(made(model, mine, batch), mine.ids, batch)


def made(model: Model, plan: Plan, batch: pa.RecordBatch) -> Slates:
    """The lists of one batch by a plan in the model's item order."""
    weights, seconds, words = (batch[name].to_pylist() for name in ("weights", "seconds", "words"))
    liked = Histories.from_lists(model.item_ids, batch["items"].to_pylist(), weights, seconds, words)
    seen, known = _seen(plan, batch["items"]), len(model.item_ids)
    best = ranker(model, liked, seen[:, :known])
    return Block(plan, known, best, Users(batch["user_id"], batch["words"], seen)).slates()


def lists(slates: Slates, ids: pa.Array, batch: pa.RecordBatch) -> pa.RecordBatch:
    """One batch of RULED."""
    items_BK, scores_BK = slates.items(), slates.scores()
    there = items_BK >= 0
    columns = by_rows(there, ids.take(pa.array(items_BK[there])), pa.array(scores_BK[there], pa.float32()))
    done = [[*slates.done.ravel().tolist(), slates.relevance], *[None] * (batch.num_rows - 1)]
    told = pa.array(done, pa.list_(pa.float64()))
    return pa.RecordBatch.from_arrays([batch["user_id"], *columns, told], schema=RULED_SCHEMA)


def _seen(plan: Plan, touched: pa.ListArray) -> csr_array:
    """B x A: the items of each history, liked or not."""
    places = pc.index_in(touched.flatten(), value_set=plan.ids)
    there = places.is_valid()
    pairs = np.stack([pc.list_parent_indices(touched).filter(there).to_numpy(), places.filter(there).to_numpy()])
    rows, columns = np.unique(pairs, axis=1)
    return csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=(len(touched), len(plan.ids)))
