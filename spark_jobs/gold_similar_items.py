"""gold.similar_items: the items most similar to each item that the model knows, best first, for each night.

The champion, silver.items (what is available, what no slate rule hides) -> the night's rows of gold.similar_items. An
item's list holds the items whose scores it raises most (models.recommend): exact, and the same for every kind of model.
Lists do not depend on the night: by the model of an earlier night, only those are computed that held an item which is
not available any more. `--model` as in gold_recommendations.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.base import I32, Model, Strings
from models.recommend import similar_items
from nightloom.contracts import ITEM_STATS, ITEMS, SIMILAR_ITEMS
from nightloom.errors import MissingTableError
from nightloom.lake import arrow_schema
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.topk import Bools
from spark_jobs.commit_stamps import has_same_recipe, is_up_to_date, newest_commit, replace_night, sql_date
from spark_jobs.model_choice import MODEL, night_model
from spark_jobs.scoring import by_rows

LONGEST = 30
"""Items of a list: an item's page has room for few, and readers leave out what they have seen."""


def main(night: Night) -> None:
    """Rewrite the night's lists of similar items."""
    model, filtered = night_model(night), bool(night.settings.slate.hiding_rules)
    if model is None:
        night.lake.create(SIMILAR_ITEMS)
        return
    inputs = [ITEMS, *([ITEM_STATS] if filtered else [])]
    if is_up_to_date(night, SIMILAR_ITEMS, *inputs, model_version=model.version):
        return
    ids, length = model.model.item_ids, min(LONGEST, night.settings.slate.stored)
    allowed_I = _allowed(night, ids, night.date, night.reads)
    kept, owners_N = _kept(night, ids, allowed_I)
    made = pa.Table.from_batches(similar(model.model, allowed_I, owners_N, length), LISTS)
    lists = pa.concat_tables([kept, made]).sort_by("item_id")
    same = {"night": pa.scalar(night.date), "model_version": pa.scalar(model.version)}
    for name, value in same.items():
        lists = lists.append_column(name, pa.repeat(value, len(lists)))
    replace_night(night, SIMILAR_ITEMS, lists)
    if missing := len(ids) - len(lists):
        print(f"{night.stage}: {missing:,} of {len(ids):,} items have no similar items")


def _kept(night: Night, ids: Strings, allowed_I: Bools) -> tuple[pa.Table, I32]:
    """LISTS of the night before that stay, and the items (indices) whose lists are computed.

    Lists stay that were made by the same model, settings and code, and hold no item that is hidden since. Who had none
    has none: no allowed item gains by it. Where an item is available again, which may be in any list, none stays.
    """
    none = LISTS.empty_table(), np.arange(len(ids), dtype=np.int32)
    if not night.lake.exists(SIMILAR_ITEMS):
        return none
    where = f"night < {sql_date(night.date)}"
    before = night.lake.rows(SIMILAR_ITEMS, where, ["max(night) AS night"])["night"][0].as_py()
    commit = newest_commit(night.lake, SIMILAR_ITEMS, before) if before else None
    if commit is None or not has_same_recipe(night, commit):
        return none
    try:
        then_I = _allowed(night, ids, before, commit.stamp["reads"])
    except MissingTableError:  # maintenance has removed what it was made from
        return none
    if (allowed_I & ~then_I).any():
        return none
    lists = night.lake.rows(SIMILAR_ITEMS, f"night = {sql_date(before)}", LISTS.names).cast(LISTS)
    hidden = pa.array(ids[then_I & ~allowed_I], pa.string())
    column = lists["items"].combine_chunks()
    broken = pc.list_parent_indices(column).filter(pc.is_in(column.flatten(), value_set=hidden)).unique()
    whole = np.ones(len(lists), np.bool_)
    whole[broken.to_numpy()] = False
    owners = pc.index_in(lists["item_id"].take(broken), value_set=pa.array(ids, pa.string()))
    return lists.filter(pa.array(whole)), np.sort(owners.to_numpy()).astype(np.int32)


def _allowed(night: Night, ids: Strings, day: date, versions: Mapping[str, int]) -> Bools:
    """Which items may be in a list of a day: available ones that no rule hides from an unknown user."""
    items = versions[ITEMS.full_name]
    hidden = night.lake.rows(ITEMS, "NOT available", ["item_id"], items)["item_id"].to_pylist()
    allowed_I = ~np.isin(ids, hidden)
    if night.settings.slate.hiding_rules:
        from nightloom.lake.described_items import compile_slate  # DuckDB: only where there are rules

        plan = compile_slate(night.lake, night.settings, day, items, versions[ITEM_STATS.full_name])
        allowed_I &= plan.visible_to_stranger(ids.tolist())
    return allowed_I


LISTS = pa.schema([arrow_schema(SIMILAR_ITEMS).field(name) for name in ("item_id", "items", "scores")])


def similar(model: Model, allowed_I: Bools, owners_N: I32, k: int) -> Iterator[pa.RecordBatch]:
    """Batches of LISTS: for each of these items its k most similar allowed items, where it raises their scores."""
    for items_B, found_BK, lift_BK in similar_items(model, k, allowed_I, owners_N):
        there = (found_BK >= 0) & (lift_BK > 0)
        some = there.any(axis=1)
        items = pa.array(model.item_ids[found_BK[there]], pa.string())
        lists = by_rows(there[some], items, pa.array(lift_BK[there], pa.float32()))
        yield pa.RecordBatch.from_arrays([pa.array(model.item_ids[items_B[some]], pa.string()), *lists], schema=LISTS)


if __name__ == "__main__":
    run_stage(stages.SIMILAR_ITEMS, main, options=MODEL)
