"""Which users' lists may differ from the night before: by their events, their attributes, a hidden item or a rule.

DuckDB finds them, in the stage's own process: what has changed since a night is little, in the largest lake too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nightloom.contracts import HISTORIES, INTERACTIONS, ITEM_STATS, ITEMS, RECOMMENDATIONS, USERS, Table
from nightloom.errors import MissingTableError
from nightloom.lake import MAINTENANCE_OPERATIONS, transaction_id
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import StoredNight, files_of_night, nightly_lists
from nightloom.literals import sql_name, sql_text
from nightloom.night.context import Night, end_of

if TYPE_CHECKING:
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
    night: Night, previous: PreviousNight, item_ids: Callable[[], Strings], plan: Plan | None
) -> pa.Table:
    """The users (user_id, distinct) whose lists may differ from those of the previous night; `plan`: the night's rules.

    Raises FullRefreshError where that may be everybody.
    """
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.execute("CREATE TEMP TABLE changed (user_id VARCHAR)")
        _add_with_events_due(night, previous, db)
        if not _has_same_rows(night, previous, HISTORIES):
            _add_with_other_events(night, previous, db)
        if USERS.full_name in previous.reads and not _has_same_rows(night, previous, USERS):
            _add_differing(night, previous, db, USERS, ("attributes",))
        if plan is None:
            _add_hidden(night, previous, db, item_ids)
        else:
            _add_touched(night, previous, db, item_ids, plan)
        return db.sql("SELECT DISTINCT user_id FROM changed ORDER BY user_id").to_arrow_table()


def _has_same_rows(night: Night, previous: PreviousNight, table: Table) -> bool:
    return night.lake.same_rows(table, previous.reads[table.full_name], night.pin(table))


def _add_with_events_due(night: Night, previous: PreviousNight, db: duckdb.DuckDBPyConnection) -> None:
    """Users with an event whose time is between the two nights' ends; the event may have been delivered earlier."""
    files, since = night.lake.files(HISTORIES, night.pin(HISTORIES)), end_of(previous.night)
    if files:
        read_parquet(db, files, hive_partitioning=True).create_view("weeks")
        db.execute(
            f"""INSERT INTO changed SELECT user_id FROM weeks WHERE week >= DATE '{HISTORIES.period_of(previous.night)}'
            AND len(list_filter("at", lambda moment: moment >= TIMESTAMPTZ '{since.isoformat()}'
                AND moment < TIMESTAMPTZ '{night.end.isoformat()}')) > 0"""
        )


def _add_with_other_events(night: Night, previous: PreviousNight, db: duckdb.DuckDBPyConnection) -> None:
    """Users with events that were added, removed or changed.

    The change feed of silver.interactions is short. That of gold.histories holds whole weeks: it is read only where
    something else than a rebuild of weeks has changed the table.
    """
    since = previous.reads[HISTORIES.full_name]
    by = {commit["operation"] for commit in night.lake.commits(HISTORIES, since + 1)}
    if INTERACTIONS.full_name in previous.reads and by <= MAINTENANCE_OPERATIONS | {"WRITE"}:
        if not _has_same_rows(night, previous, INTERACTIONS):
            then, now = previous.reads[INTERACTIONS.full_name], night.pin(INTERACTIONS)
            db.register("feed", night.lake.changes(INTERACTIONS, then, now, ["user_id"]))
            db.execute("INSERT INTO changed SELECT DISTINCT user_id FROM feed")
    else:
        _add_differing(night, previous, db, HISTORIES, ("week", "items", "weights", "at"))


def _add_differing(
    night: Night, previous: PreviousNight, db: duckdb.DuckDBPyConnection, table: Table, columns: tuple[str, ...]
) -> None:
    """Users with rows that were added or removed; a row that was rewritten unchanged cancels itself out."""
    maps = {column.name for column in table.columns if column.type.startswith("map")}
    comparable = (f"list_sort(map_entries({sql_name(name)}))" if name in maps else sql_name(name) for name in columns)
    since, newest = previous.reads[table.full_name], night.pin(table)
    db.register("feed", night.lake.changes(table, since, newest, ["user_id", *columns]))
    db.execute(
        f"""INSERT INTO changed SELECT user_id FROM (SELECT user_id, hash({", ".join(comparable)}) AS row,
            CASE WHEN _change_type IN ('insert', 'update_postimage') THEN 1 ELSE -1 END AS times FROM feed)
        GROUP BY user_id, row HAVING sum(times) <> 0"""
    )


def _add_hidden(
    night: Night, previous: PreviousNight, db: duckdb.DuckDBPyConnection, item_ids: Callable[[], Strings]
) -> None:
    """Users with an item in their list that is no longer available."""
    if _has_same_rows(night, previous, ITEMS):
        return
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
    if gone:
        create_lists_view(night, previous.night, db)
        named = ", ".join(map(sql_text, gone))
        db.execute(f"INSERT INTO changed SELECT user_id FROM lists WHERE list_has_any(items, [{named}])")


def create_lists_view(night: Night, of: date, db: duckdb.DuckDBPyConnection) -> None:
    """Make the view `lists`: everybody's row of a night, as the table is now.

    It is not pinned, for a stage's output is none of its inputs.
    """
    files = files_of_night(night.lake, RECOMMENDATIONS, of)
    read_parquet(db, files, union_by_name=True, hive_partitioning=True).create_view("stored")
    db.execute(f"CREATE OR REPLACE TEMP VIEW lists AS {nightly_lists(night.lake, of, source='stored')}")


def _add_touched(
    night: Night, previous: PreviousNight, db: duckdb.DuckDBPyConnection, item_ids: Callable[[], Strings], plan: Plan
) -> None:
    """Users whom other rules, or rules over other items, may touch."""
    if plan.digest == previous.rules:
        return
    from nightloom.lake.described_items import compile_slate  # numba: only where there are rules
    from nightloom.slate.changes import EverybodyError, compare_plans, touched_users

    versions = (previous.reads[table.full_name] for table in (ITEMS, ITEM_STATS))
    try:
        changes = compare_plans(compile_slate(night.lake, night.settings, previous.night, *versions), plan, item_ids())
    except (EverybodyError, MissingTableError) as why:
        raise FullRefreshError(str(why)) from None
    if not changes:
        return
    slate = night.settings.slate
    create_lists_view(night, previous.night, db)
    if USERS.full_name in night.reads:
        read_parquet(db, night.lake.files(USERS, night.pin(USERS))).create_view("people")
    else:
        db.execute("CREATE TABLE people (user_id VARCHAR, attributes MAP(VARCHAR, VARCHAR))")
    db.register("touched", touched_users(db, changes, slate.k, slate.stored))
    db.execute("INSERT INTO changed SELECT user_id FROM touched")


def _unavailable(night: Night, version: int) -> set[str]:
    return set(night.lake.rows(ITEMS, "NOT available", ["item_id"], version)["item_id"].to_pylist())


def note_interactions(night: Night) -> None:
    """Note as read the version of silver.interactions that gold.histories is made from: its feed says who changed."""
    opened = night.lake.open(HISTORIES, night.pin(HISTORIES))
    if (consumed := opened.transaction_version(transaction_id(INTERACTIONS, HISTORIES))) is not None:
        night.reads[INTERACTIONS.full_name] = consumed
