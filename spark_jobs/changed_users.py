"""Whose lists could be others than on the night before: by their events, by what is said of them, by a hidden item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, INTERACTIONS, ITEMS, RECOMMENDATIONS, USERS, Table
from nightloom.errors import MissingTableError
from nightloom.lake import MAINTENANCE_OPERATIONS, transaction_id
from nightloom.lake.recommendations import whole
from nightloom.night.context import end_of
from spark_jobs.context import SparkNight

Strings = NDArray[np.str_]
FEW_ITEMS = 1_000
"""Items hidden since: with more of them, to look through all lists is no quicker than to make them."""


class EverybodyError(Exception):
    """Why everybody is scored; never leaves rescored.py."""


@dataclass(frozen=True)
class Before:
    """The newest night before, what its rows were made from, and the full night that it points to."""

    night: date
    reads: dict[str, int]
    full_night: date


def changed_users(night: SparkNight, before: Before, item_ids: Callable[[], Strings]) -> DataFrame:
    """The users (user_id, distinct) whose lists could be others now."""
    found = [_come(night, before)]
    if not _same(night, before, HISTORIES):
        found.append(_with_other_events(night, before))
    if USERS.full_name in before.reads and not _same(night, before, USERS):
        found.append(_differing(night, before, USERS, ("attributes",)))
    if not night.settings.slate.rules:  # else it is the rules that hide
        found += _hidden(night, before, item_ids)
    users = found[0]
    for more in found[1:]:
        users = users.union(more)
    return users.distinct()


def _same(night: SparkNight, before: Before, table: Table) -> bool:
    return night.lake.same_rows(table, before.reads[table.full_name], night.pin(table))


def _come(night: SparkNight, before: Before) -> DataFrame:
    """Users with an event whose time came between the two nights' ends; it may have been known before."""
    weeks = night.frame(HISTORIES).where(F.col("week") >= F.lit(HISTORIES.period_of(before.night)))
    between = weeks.where(F.exists("at", lambda at: (at >= F.lit(end_of(before.night))) & (at < F.lit(night.end))))
    return between.select("user_id")


def _with_other_events(night: SparkNight, before: Before) -> DataFrame:
    """Users whose events came, went or changed.

    By the feed of the events themselves, which is short; by that of gold.histories, which holds whole weeks, where
    something else has changed it, too.
    """
    since = before.reads[HISTORIES.full_name]
    by = {commit["operation"] for commit in night.lake.commits(HISTORIES, since + 1)}
    if INTERACTIONS.full_name in before.reads and by <= MAINTENANCE_OPERATIONS | {"WRITE"}:
        if _same(night, before, INTERACTIONS):
            return night.frame(HISTORIES).select("user_id").limit(0)
        return _feed(night, before, INTERACTIONS).select("user_id")
    return _differing(night, before, HISTORIES, ("week", "items", "weights", "at"))


def _feed(night: SparkNight, before: Before, table: Table) -> DataFrame:
    """What changed in a table between the versions that the two nights read."""
    since = before.reads[table.full_name]
    span = {"readChangeFeed": "true", "startingVersion": str(since + 1), "endingVersion": str(night.pin(table))}
    return night.spark.read.format("delta").options(**span).load(night.lake.path(table))


def _differing(night: SparkNight, before: Before, table: Table, columns: tuple[str, ...]) -> DataFrame:
    """Users whose rows came or went; a row that was written again as it was cancels itself out."""
    feed = _feed(night, before, table)
    maps = {name for name, kind in feed.dtypes if kind.startswith("map")}
    comparable = [F.array_sort(F.map_entries(name)) if name in maps else F.col(name) for name in columns]
    came = F.col("_change_type").isin("insert", "update_postimage")
    rows = feed.select("user_id", F.xxhash64(*comparable).alias("row"), F.when(came, 1).otherwise(-1).alias("times"))
    return rows.groupBy("user_id", "row").agg(F.sum("times").alias("times")).where("times <> 0").select("user_id")


def _hidden(night: SparkNight, before: Before, item_ids: Callable[[], Strings]) -> list[DataFrame]:
    """Users who have an item in their list that is not available any more."""
    if _same(night, before, ITEMS):
        return []
    try:
        then = _unavailable(night, before.reads[ITEMS.full_name])
    except MissingTableError as error:
        raise EverybodyError(str(error)) from None
    now = _unavailable(night, night.pin(ITEMS))
    if back := (then - now).intersection(item_ids().tolist()):
        raise EverybodyError(f"{len(back):,} items can be had again, {min(back)} the first of them")
    gone = sorted(now - then)
    if len(gone) > FEW_ITEMS:
        raise EverybodyError(f"{len(gone):,} items cannot be had any more")
    if not gone:
        return []
    lists_of(night)
    lists = night.spark.sql(whole(VIEW, before.night, before.full_night))
    return [lists.where(F.arrays_overlap("items", F.array(*map(F.lit, gone)))).select("user_id")]


def _unavailable(night: SparkNight, version: int) -> set[str]:
    return set(night.lake.rows(ITEMS, "NOT available", ["item_id"], version)["item_id"].to_pylist())


VIEW = "lists_before"


def lists_of(night: SparkNight) -> DataFrame:
    """gold.recommendations as it is, also as a view; not pinned: a stage's own output is none of its inputs."""
    lists = night.spark.read.format("delta").load(night.lake.path(RECOMMENDATIONS))
    lists.createOrReplaceTempView(VIEW)
    return lists


def note_events(night: SparkNight) -> None:
    """Note as read the version of silver.interactions that gold.histories is made of: its feed says who changed."""
    opened = night.lake.open(HISTORIES, night.pin(HISTORIES))
    if (taken := opened.transaction_version(transaction_id(INTERACTIONS, HISTORIES))) is not None:
        night.reads[INTERACTIONS.full_name] = taken
