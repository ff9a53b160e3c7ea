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
from nightloom.slate.apply import apply_rules
from nightloom.slate.candidates import UserBlock
from nightloom.slate.plan import Plan
from nightloom.slate.slates import Slates
from spark_jobs.scoring import LISTS, SCHEMA, by_rows, loaded

SLATES = f"{LISTS}, rule_statistics array<double>"
SLATES_SCHEMA = SCHEMA.append(pa.field("rule_statistics", pa.list_(pa.float64())))


def score_by_rules(batches: Iterator[pa.RecordBatch], folder: str, plan: Plan) -> Iterator[pa.RecordBatch]:
    """Batches as in scoring.score() -> batches of SLATES: statistics of a batch's first row are the whole batch's.

    They are STATISTICS numbers for each rule, and then the relevance of all first pages by score alone.
    """
    model = loaded(folder)
    mine = plan.for_items(model.item_ids)
    for batch in batches:
        if batch.num_rows:
            yield slate_rows(make_slates(model, mine, batch), mine.ids, batch)


def make_slates(model: Model, plan: Plan, batch: pa.RecordBatch) -> Slates:
    """The lists of one batch by a plan in the model's item order."""
    weights, seconds, attributes = (batch[name].to_pylist() for name in ("weights", "seconds", "attributes"))
    liked = Histories.from_lists(model.item_ids, batch["items"].to_pylist(), weights, seconds, attributes)
    seen, known = _seen(plan, batch["items"]), len(model.item_ids)
    best = ranker(model, liked, seen[:, :known])
    return apply_rules(plan, known, best, UserBlock(batch["user_id"], batch["attributes"], seen))


def slate_rows(slates: Slates, ids: pa.Array, batch: pa.RecordBatch) -> pa.RecordBatch:
    """One batch of SLATES."""
    items_BK, scores_BK = slates.items(), slates.scores()
    there = items_BK >= 0
    columns = by_rows(there, ids.take(pa.array(items_BK[there])), pa.array(scores_BK[there], pa.float32()))
    statistics = [[*slates.rule_statistics.ravel().tolist(), slates.relevance], *[None] * (batch.num_rows - 1)]
    rows = [batch["user_id"], *columns, pa.array(statistics, pa.list_(pa.float64()))]
    return pa.RecordBatch.from_arrays(rows, schema=SLATES_SCHEMA)


def _seen(plan: Plan, touched: pa.ListArray) -> csr_array:
    """B x A: the items of each history, liked or not."""
    places = pc.index_in(touched.flatten(), value_set=plan.ids)
    there = places.is_valid()
    pairs = np.stack([pc.list_parent_indices(touched).filter(there).to_numpy(), places.filter(there).to_numpy()])
    rows, columns = np.unique(pairs, axis=1)
    return csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=(len(touched), len(plan.ids)))
