"""Histories -> each user's list by the slate rules, on Spark's Python workers; and what each rule did. See scoring.py.

The rules come compiled (nightloom.slate.plan.Plan); a worker process puts them in its model's item order once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from models.base import Model
from models.recommend import Search, ranker
from nightloom.slate.apply import apply_rules
from nightloom.slate.candidates import UserBlock
from nightloom.slate.plan import Plan
from nightloom.slate.slates import Slates
from nightloom.topk import topk
from spark_jobs.scoring import LISTS, SCHEMA, by_rows, histories, loaded, places, seen_items
from spark_jobs.sent_model import SentModel

SLATES = f"{LISTS}, rule_statistics array<double>"
SLATES_SCHEMA = SCHEMA.append(pa.field("rule_statistics", pa.list_(pa.float64())))


@dataclass(frozen=True)
class SentPlan:
    """A plan on its way to the workers, known by its digest."""

    digest: str
    plan: Plan = field(compare=False)


def score_by_rules(
    batches: Iterator[pa.RecordBatch], sent_model: SentModel, sent: SentPlan
) -> Iterator[pa.RecordBatch]:
    """Batches as in scoring.score() -> batches of SLATES: statistics of a batch's first row are the whole batch's.

    They are STATISTICS numbers for each rule, and then the relevance of all first pages by score alone.
    """
    folder = sent_model.here()
    model, plan = loaded(folder), _in_model_order(folder, sent)
    for batch in batches:
        if batch.num_rows:
            yield slate_rows(make_slates(model, plan, batch), plan.ids, batch)


@lru_cache(maxsize=1)
def _in_model_order(folder: str, sent: SentPlan) -> Plan:
    """The plan in a model's item order, once per worker process."""
    return sent.plan.for_items(loaded(folder).item_ids)


def make_slates(model: Model, plan: Plan, batch: pa.RecordBatch, search: Search = topk) -> Slates:
    """The lists of one batch by a plan in the model's item order; `search` finds the best items of a factor model."""
    items_N, known = places(batch["items"], plan.places), len(model.item_ids)
    seen = seen_items(batch["items"], items_N, len(plan.ids))
    best = ranker(model, histories(batch, np.where(items_N < known, items_N, -1)), seen[:, :known], search)
    return apply_rules(plan, known, best, UserBlock(batch["user_id"], batch["attributes"], seen))


def slate_rows(slates: Slates, ids: pa.Array, batch: pa.RecordBatch) -> pa.RecordBatch:
    """One batch of SLATES."""
    items_BK, scores_BK = slates.items(), slates.scores()
    there = items_BK >= 0
    columns = by_rows(there, ids.take(pa.array(items_BK[there])), pa.array(scores_BK[there], pa.float32()))
    statistics = [[*slates.rule_statistics.ravel().tolist(), slates.relevance], *[None] * (batch.num_rows - 1)]
    rows = [batch["user_id"], *columns, pa.array(statistics, pa.list_(pa.float64()))]
    return pa.RecordBatch.from_arrays(rows, schema=SLATES_SCHEMA)
