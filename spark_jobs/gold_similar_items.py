"""gold.similar_items: the items most similar to each item that the model knows, best first, for each night.

The champion, silver.items (what is available, what no slate rule hides) -> the night's rows of gold.similar_items. An
item's list holds the items whose scores it raises most (models.recommend): exact, and the same for every kind of model.
`--model` as in gold_recommendations.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa

from models.base import Model
from models.recommend import similar_items
from nightloom.contracts import ITEM_STATS, ITEMS, SIMILAR_ITEMS
from nightloom.lake import arrow_schema
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.topk import Bools
from spark_jobs.commit_stamps import is_up_to_date, replace_night
from spark_jobs.model_choice import MODEL, night_model
from spark_jobs.scoring import by_rows

LONGEST = 30
"""Items of a list: an item's page has room for few, and readers leave out what they have seen."""


def main(night: Night) -> None:
    """Rewrite the night's lists of similar items."""
    model, filtered = night_model(night), bool(night.settings.slate.hiding_rules)
    inputs = [ITEMS, *([ITEM_STATS] if filtered else [])]
    if is_up_to_date(night, SIMILAR_ITEMS, *inputs, model_version=model.version):
        return
    ids = model.model.item_ids
    length = min(LONGEST, night.settings.slate.stored)
    lists = pa.Table.from_batches(similar(model.model, _allowed(night, ids.tolist()), night.end, length), LISTS)
    same = {"night": pa.scalar(night.date), "model_version": pa.scalar(model.version)}
    for name, value in same.items():
        lists = lists.append_column(name, pa.repeat(value, len(lists)))
    replace_night(night, SIMILAR_ITEMS, lists)
    if missing := len(ids) - len(lists):
        print(f"{night.stage}: {missing:,} of {len(ids):,} items have no similar items")


def _allowed(night: Night, ids: list[str]) -> Bools:
    """Which items may be in a list: available ones that no rule hides from an unknown user."""
    hidden = night.lake.rows(ITEMS, "NOT available", ["item_id"], night.pin(ITEMS))["item_id"].to_pylist()
    allowed_I = ~np.isin(ids, hidden)
    if night.settings.slate.hiding_rules:
        from nightloom.lake.described_items import compile_slate  # DuckDB: only where there are rules

        plan = compile_slate(night.lake, night.settings, night.date, night.pin(ITEMS), night.pin(ITEM_STATS))
        allowed_I &= plan.visible_to_stranger(ids)
    return allowed_I


LISTS = pa.schema([arrow_schema(SIMILAR_ITEMS).field(name) for name in ("item_id", "items", "scores")])


def similar(model: Model, allowed_I: Bools, at: datetime, k: int) -> Iterator[pa.RecordBatch]:
    """Batches of LISTS: for each item its k most similar allowed items, where it raises their scores at all."""
    for items_B, found_BK, lift_BK in similar_items(model, int(at.timestamp()), k, allowed_I):
        there = (found_BK >= 0) & (lift_BK > 0)
        some = there.any(axis=1)
        items = pa.array(model.item_ids[found_BK[there]], pa.string())
        lists = by_rows(there[some], items, pa.array(lift_BK[there], pa.float32()))
        yield pa.RecordBatch.from_arrays([pa.array(model.item_ids[items_B[some]], pa.string()), *lists], schema=LISTS)


if __name__ == "__main__":
    run_stage(stages.SIMILAR_ITEMS, main, options=MODEL)
