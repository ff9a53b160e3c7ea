"""Few users -> their lists, in the stage's own process: Spark would take longer to begin than the scoring takes.

The functions that score are those of Spark's workers (scoring.py, slate_scoring.py), and so are the lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from models.registry import RegisteredVersion
from nightloom.contracts import ITEMS, RECOMMENDATIONS, USERS
from nightloom.lake import arrow_schema, now
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.user_histories import ATTRIBUTES, user_histories
from nightloom.night.context import Night
from spark_jobs.scoring import SCHEMA, score
from spark_jobs.scoring_scope import UsersInProcess
from spark_jobs.sent_model import SentModel

if TYPE_CHECKING:
    from nightloom.slate.plan import Plan

USERS_PER_BATCH = 5_000
HISTORIES = pa.schema([
    ("user_id", pa.string()), ("items", pa.list_(pa.string())), ("weights", pa.list_(pa.float32())),
    ("seconds", pa.list_(pa.int64())), ("attributes", pa.list_(pa.string())),
])  # fmt: skip
"""What scoring.score() expects."""


def lists_in_process(
    night: Night,
    model: RegisteredVersion,
    plan: Plan | None,
    scope: UsersInProcess,
    *,
    with_users: bool,
    without_history: bool,
) -> pa.Table:
    """The night's rows of gold.recommendations, without the columns that place them in a night.

    `with_users`: the model or a rule uses attributes; `without_history`: users who have attributes only have a list.
    """
    histories = _histories(night, scope, with_users=with_users, without_history=without_history)
    batches = iter(histories.combine_chunks().to_batches(max_chunksize=USERS_PER_BATCH))
    if plan is None:
        unlisted = night.lake.rows(ITEMS, "NOT available", ["item_id"], night.pin(ITEMS))["item_id"].to_pylist()
        found = score(batches, SentModel(str(model.folder)), unlisted, night.settings.slate.stored)
        lists = pa.Table.from_batches(found, SCHEMA)
    else:
        lists = _by_rules(night, model, plan, batches)
    size, declared = lists.num_rows, arrow_schema(RECOMMENDATIONS)
    own = lists.append_column("model_version", pa.repeat(pa.scalar(model.version), size))
    own = own.append_column("generated_at", pa.repeat(pa.scalar(now(), declared.field("generated_at").type), size))
    own = own.cast(pa.schema([declared.field(name) for name in own.column_names]))
    if scope.carried is None:
        return own
    return pa.concat_tables([own, scope.carried.select(own.column_names).cast(own.schema)])


def _by_rules(night: Night, model: RegisteredVersion, plan: Plan, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """The lists by slate rules; ops.slate_rules gets what the rules did."""
    from spark_jobs.slate_lists import record_statistics
    from spark_jobs.slate_scoring import SLATES_SCHEMA, SentPlan, score_by_rules

    found = score_by_rules(batches, SentModel(str(model.folder)), SentPlan(plan.digest, plan))
    slates = pa.Table.from_batches(found, SLATES_SCHEMA)
    statistics = [row for row in slates["rule_statistics"].to_pylist() if row is not None]
    record_statistics(night, plan, slates.num_rows, np.sum(statistics, axis=0).tolist() if statistics else [])
    return slates.drop_columns(["rule_statistics"])


def _histories(night: Night, scope: UsersInProcess, *, with_users: bool, without_history: bool) -> pa.Table:
    """A row (HISTORIES) per user with interactions before the night's end, oldest first, and with attributes."""
    described = "nobody"
    join: Literal["LEFT", "FULL"] = "FULL" if without_history else "LEFT"
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.register("own", scope.histories)
        db.register("changed", scope.users)
        db.execute("CREATE TEMP VIEW nobody AS SELECT '' AS user_id, [''] AS attributes WHERE false")
        if with_users:
            described = "people"
            read_parquet(db, night.lake.files(USERS, night.pin(USERS))).create_view("all_people")
            changed = f"SELECT user_id, {ATTRIBUTES} AS attributes FROM all_people SEMI JOIN changed USING (user_id)"
            db.execute(f"CREATE TEMP VIEW people AS {changed}")
        rows = db.sql(
            f"""SELECT user_id, items, weights,
            list_transform("at", lambda moment: floor(moment / 1000000)::BIGINT) AS seconds, attributes
            FROM ({user_histories(night.end, "own", described, join)}) ORDER BY user_id"""
        ).to_arrow_table()
    return rows.cast(HISTORIES)
