"""Which users' lists may differ from the night before: by their events, their attributes, a hidden item or a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, INTERACTIONS, ITEM_STATS, ITEMS, RECOMMENDATIONS, USERS, Table
from nightloom.errors import MissingTableError
from nightloom.lake import MAINTENANCE_OPERATIONS, transaction_id
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import StoredNight, files_of_night, nightly_lists
from nightloom.night.context import end_of
from spark_jobs.context import SparkNight

if TYPE_CHECKING:
    from nightloom.slate.changes import RuleChanges
    from nightloom.slate.plan import Plan

Strings = NDArray[np.str_]
FEW_ITEMS = 1_000
"""Items hidden since: with more of them, to look through all lists is no quicker than to score everybody."""


class FullRefreshError(Exception):
    """Why everybody is scored; scoring_scope() catches it."""


@dataclass(frozen=True)
class PreviousNight:
    """The night that tonight's lists start from, and the table versions and rules that its lists were made from."""

    stored: StoredNight
    reads: dict[str, int]
    rules: str | None
    """Digest of its plan; None without slate rules."""

    @property
    def night(self) -> date:
        return self.stored.night


def changed_users(
    night: SparkNight, previous: PreviousNight, item_ids: Callable[[], Strings], plan: Plan | None
) -> DataFrame:
    """The users (user_id, distinct) whose lists may differ from those of the previous night; `plan`: the night's rules.

    Raises FullRefreshError where that may be everybody.
    """
    found = [_with_events_due(night, previous)]
    if not _has_same_rows(night, previous, HISTORIES):
        found.append(_with_other_events(night, previous))
    if USERS.full_name in previous.reads and not _has_same_rows(night, previous, USERS):
        found.append(_differing(night, previous, USERS, ("attributes",)))
    found += _hidden(night, previous, item_ids) if plan is None else _touched(night, previous, item_ids, plan)
    users = found[0]
    for more in found[1:]:
        users = users.union(more)
    return users.distinct()


def _has_same_rows(night: SparkNight, previous: PreviousNight, table: Table) -> bool:
    return night.lake.same_rows(table, previous.reads[table.full_name], night.pin(table))


def _with_events_due(night: SparkNight, previous: PreviousNight) -> DataFrame:
    """Users with an event whose time is between the two nights' ends; the event may have been delivered earlier."""
    weeks = night.frame(HISTORIES).where(F.col("week") >= F.lit(HISTORIES.period_of(previous.night)))
    between = weeks.where(F.exists("at", lambda at: (at >= F.lit(end_of(previous.night))) & (at < F.lit(night.end))))
    return between.select("user_id")


def _with_other_events(night: SparkNight, previous: PreviousNight) -> DataFrame:
    """Users with events that were added, removed or changed.

    The change feed of silver.interactions is short. That of gold.histories holds whole weeks: it is read only where
    something else than a rebuild of weeks has changed the table.
    """
    since = previous.reads[HISTORIES.full_name]
    by = {commit["operation"] for commit in night.lake.commits(HISTORIES, since + 1)}
    if INTERACTIONS.full_name in previous.reads and by <= MAINTENANCE_OPERATIONS | {"WRITE"}:
        if _has_same_rows(night, previous, INTERACTIONS):
            return night.frame(HISTORIES).select("user_id").limit(0)
        return night.change_feed(INTERACTIONS, previous.reads[INTERACTIONS.full_name]).select("user_id")
    return _differing(night, previous, HISTORIES, ("week", "items", "weights", "at"))


def _differing(night: SparkNight, previous: PreviousNight, table: Table, columns: tuple[str, ...]) -> DataFrame:
    """Users with rows that were added or removed; a row that was rewritten unchanged cancels itself out."""
    feed = night.change_feed(table, previous.reads[table.full_name])
    maps = {name for name, kind in feed.dtypes if kind.startswith("map")}
    comparable = [F.array_sort(F.map_entries(name)) if name in maps else F.col(name) for name in columns]
    came = F.col("_change_type").isin("insert", "update_postimage")
    rows = feed.select("user_id", F.xxhash64(*comparable).alias("row"), F.when(came, 1).otherwise(-1).alias("times"))
    return rows.groupBy("user_id", "row").agg(F.sum("times").alias("times")).where("times <> 0").select("user_id")


def _hidden(night: SparkNight, previous: PreviousNight, item_ids: Callable[[], Strings]) -> list[DataFrame]:
    """Users with an item in their list that is no longer available."""
    if _has_same_rows(night, previous, ITEMS):
        return []
    try:
        then = _unavailable(night, previous.reads[ITEMS.full_name])
    except MissingTableError as error:
        raise FullRefreshError(str(error)) from None
    now = _unavailable(night, night.pin(ITEMS))
    if back := (then - now).intersection(item_ids().tolist()):
        raise FullRefreshError(f"{len(back):,} items are available again, {min(back)} the first of them")
    gone = sorted(now - then)
    if len(gone) > FEW_ITEMS:
        raise FullRefreshError(f"{len(gone):,} items are no longer available")
    if not gone:
        return []
    lists = night.spark.sql(nightly_lists(night.lake, previous.night, source=lists_view(night)))
    return [lists.where(F.arrays_overlap("items", F.array(*map(F.lit, gone)))).select("user_id")]


def _touched(
    night: SparkNight, previous: PreviousNight, item_ids: Callable[[], Strings], plan: Plan
) -> list[DataFrame]:
    """Users whom other rules, or rules over other items, may touch."""
    if plan.digest == previous.rules:
        return []
    from nightloom.lake.described_items import compile_slate  # numba: only where there are rules
    from nightloom.slate.changes import EverybodyError, compare_plans

    versions = (previous.reads[table.full_name] for table in (ITEMS, ITEM_STATS))
    try:
        changes = compare_plans(compile_slate(night.lake, night.settings, previous.night, *versions), plan, item_ids())
    except (EverybodyError, MissingTableError) as why:
        raise FullRefreshError(str(why)) from None
    return [_by_rules(night, previous, changes)] if changes else []


def _by_rules(night: SparkNight, previous: PreviousNight, changes: RuleChanges) -> DataFrame:
    """The users whom changes touch, found by DuckDB in the lists of the previous night."""
    from nightloom.slate.changes import touched_users

    slate = night.settings.slate
    with spilling_duckdb(night.settings.place("scratch")) as db:
        files = files_of_night(night.lake, RECOMMENDATIONS, previous.night)
        read_parquet(db, files, union_by_name=True, hive_partitioning=True).create_view("stored")
        lists = nightly_lists(night.lake, previous.night, source="stored")
        db.execute(f"CREATE VIEW lists AS SELECT user_id, items FROM ({lists})")
        if USERS.full_name in night.reads:
            users = night.lake.files(USERS, night.pin(USERS))
            read_parquet(db, users).create_view("people")
        else:
            db.execute("CREATE TABLE people (user_id VARCHAR, attributes MAP(VARCHAR, VARCHAR))")
        found = touched_users(db, changes, slate.k, slate.stored)
    none = night.frame(HISTORIES).select("user_id").limit(0)  # Spark takes no empty Arrow table
    return night.spark.createDataFrame(found) if found.num_rows else none


def _unavailable(night: SparkNight, version: int) -> set[str]:
    return set(night.lake.rows(ITEMS, "NOT available", ["item_id"], version)["item_id"].to_pylist())


def lists_view(night: SparkNight) -> str:
    """Name of a view of gold.recommendations as it is now; not pinned, for a stage's output is none of its inputs."""
    night.spark.read.format("delta").load(night.lake.path(RECOMMENDATIONS)).createOrReplaceTempView("earlier_lists")
    return "earlier_lists"


def note_interactions(night: SparkNight) -> None:
    """Note as read the version of silver.interactions that gold.histories is made from: its feed says who changed."""
    opened = night.lake.open(HISTORIES, night.pin(HISTORIES))
    if (consumed := opened.transaction_version(transaction_id(INTERACTIONS, HISTORIES))) is not None:
        night.reads[INTERACTIONS.full_name] = consumed
