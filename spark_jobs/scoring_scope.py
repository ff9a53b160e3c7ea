"""Which users are scored tonight: those for whom an input of their list has changed since the previous night.

The inputs are a user's own events (by the change feed; also events whose time has now come), their attributes where
the model or a rule uses them, the availability of the items in the list, and the slate rules over the night's items
(nightloom/slate/changes.py). Unchanged users keep their list. Everybody is scored, a full refresh, where the changed
users cannot be told: another model, other settings or code, an item that is available again, a user without a history
any more; and every slate.full_refresh_days.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, RECOMMENDATIONS, USERS
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import StoredNight, files_of_night, previous_night, rows_to_carry
from nightloom.literals import sql_name
from nightloom.night.context import Night
from spark_jobs.changed_users import (
    FullRefreshError,
    PreviousNight,
    Strings,
    changed_users,
    create_lists_view,
)
from spark_jobs.commit_stamps import commit_stamp, newest_commit
from spark_jobs.context import SparkNight, cached

if TYPE_CHECKING:
    from nightloom.slate.plan import Plan

FEW_USERS = 100_000
"""The histories and lists of so many users fit in this process: some 100 MB each."""
MAX_CHANGED_SHARE = 0.5
"""Share of all users: with more of them to score or to carry over, everybody is scored."""
MAX_WITHOUT_HISTORY = 1_000
"""Changed users without a history: with more of them nobody looks whether they had a list."""
HISTORY_COLUMNS = ("week", "user_id", "items", "weights", "at")


@dataclass(frozen=True)
class UsersInProcess:
    """Users whose histories and lists fit in this process, which scores them."""

    users: pa.Table
    """Those who are scored (user_id)."""
    histories: pa.Table
    """Their rows of gold.histories (HISTORY_COLUMNS)."""
    carried: pa.Table | None
    """Rows (CARRIED_COLUMNS) of the previous night that are stored again."""


@dataclass(frozen=True)
class UsersOnSpark:
    """Users whom Spark scores."""

    users: DataFrame | None
    """Those who are scored (user_id); None: everybody."""
    count: int | None
    """How many they are; None: everybody."""
    histories: DataFrame
    """Their rows of gold.histories (HISTORY_COLUMNS)."""
    carried: DataFrame | None
    """Rows (CARRIED_COLUMNS) of the previous night that are stored again."""


@dataclass(frozen=True)
class ScoringScope:
    """Which users are scored, and which lists of the previous night are stored again."""

    reason: str
    scored: UsersInProcess | UsersOnSpark
    previous: StoredNight | None = None
    """The night whose lists unchanged users keep; None in a full refresh."""


@contextmanager
def scoring_scope(
    night: SparkNight, item_ids: Callable[[], Strings], plan: Plan | None = None, *, without_history: bool = False
) -> Iterator[ScoringScope]:
    """The night's scope; all inputs are pinned, `plan` has the slate rules, if any, and `night.tags` the model.

    `item_ids` gives the items that the model knows: seldom called, because it reads the model. `without_history` says
    that the model also scores users who have attributes only.
    """
    with ExitStack() as opened:
        try:
            previous = _previous(night)
            changed = changed_users(night, previous, item_ids, plan)
            _check_share(previous.stored, changed.num_rows)
            few = changed.num_rows + previous.stored.changed <= FEW_USERS
            own = _histories_of(night, previous, changed, few=few, without_history=without_history)
        except FullRefreshError as why:
            histories = night.frame(HISTORIES).select(*HISTORY_COLUMNS)
            yield ScoringScope(f"everybody: {why}", UsersOnSpark(None, None, histories, None))
            return
        stored, count = previous.stored, changed.num_rows
        reason = f"{count:,} users changed since {stored.night}"
        if not count and not stored.changed:
            reason = f"nobody changed since {stored.night}"
        carries = bool(stored.changed or not count)
        if few:
            users: UsersInProcess | UsersOnSpark = UsersInProcess(
                changed, own, _carried(night, stored, changed) if carries else None
            )
        else:
            users = opened.enter_context(_many(night, stored, changed, carries=carries))
        yield ScoringScope(reason, users, stored)


def _check_share(previous: StoredNight, count: int) -> None:
    if count + previous.changed > MAX_CHANGED_SHARE * previous.lists:
        raise FullRefreshError(f"{count:,} users changed and {previous.changed:,} did before, of {previous.lists:,}")


def _carried(night: Night, previous: StoredNight, changed: pa.Table) -> pa.Table:
    """Lists of the previous night that are stored again, without those of users who changed now."""
    with spilling_duckdb(night.settings.place("scratch")) as db:
        files = files_of_night(night.lake, RECOMMENDATIONS, previous.night)
        read_parquet(db, files, union_by_name=True, hive_partitioning=True).create_view("stored")
        db.register("changed", changed)
        carried = rows_to_carry(previous, "stored")
        return db.sql(f"FROM ({carried}) ANTI JOIN changed USING (user_id)").to_arrow_table()


def lists_view(night: SparkNight) -> str:
    """Name of a view of gold.recommendations as it is now; not pinned, for a stage's output is none of its inputs."""
    night.spark.read.format("delta").load(night.lake.path(RECOMMENDATIONS)).createOrReplaceTempView("earlier_lists")
    return "earlier_lists"


@contextmanager
def _many(night: SparkNight, previous: StoredNight, changed: pa.Table, *, carries: bool) -> Iterator[UsersOnSpark]:
    """The changed users for Spark."""
    users = night.spark.createDataFrame(changed)
    histories = night.frame(HISTORIES).select(*HISTORY_COLUMNS).join(F.broadcast(users), "user_id", "left_semi")
    carried = None
    if carries:
        rows = night.spark.sql(rows_to_carry(previous, lists_view(night)))
        carried = rows.join(F.broadcast(users), "user_id", "left_anti")
    with cached(histories) as own:
        yield UsersOnSpark(users, changed.num_rows, own, carried)


def _histories_of(
    night: Night, previous: PreviousNight, changed: pa.Table, *, few: bool, without_history: bool
) -> pa.Table:
    """The histories of the changed users; none of them where they are not `few`.

    Raises FullRefreshError where a changed user had a list and can have none any more.
    """
    names = ", ".join(map(sql_name, HISTORY_COLUMNS))
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.register("changed", changed)
        read_parquet(db, night.lake.files(HISTORIES, night.pin(HISTORIES)), hive_partitioning=True).create_view("weeks")
        own = f"SELECT {names} FROM weeks SEMI JOIN changed USING (user_id)"
        db.execute(f"CREATE TEMP {'TABLE' if few else 'VIEW'} own AS {own}")
        scorable = f"""SELECT user_id FROM own
            WHERE len(list_filter("at", lambda moment: moment < TIMESTAMPTZ '{night.end.isoformat()}')) > 0"""
        if without_history:
            read_parquet(db, night.lake.files(USERS, night.pin(USERS))).create_view("described")
            scorable += " UNION SELECT user_id FROM described"
        missing = f"SELECT user_id FROM changed ANTI JOIN ({scorable}) USING (user_id) LIMIT {MAX_WITHOUT_HISTORY}"
        db.execute(f"CREATE TEMP TABLE gone AS {missing}")
        if _had_lists(night, previous, db):
            missing = "history or description" if without_history else "history"
            raise FullRefreshError(f"a user has no {missing} any more")
        return db.sql(f"FROM own WHERE {str(few).lower()}").to_arrow_table()


def _had_lists(night: Night, previous: PreviousNight, db: duckdb.DuckDBPyConnection) -> bool:
    """Whether one of the users in `gone` had a list on the previous night, or they are too many to look."""
    ((count,),) = db.sql("SELECT count(*) FROM gone").fetchall()
    if not 0 < count < MAX_WITHOUT_HISTORY:
        return bool(count)
    create_lists_view(night, previous.night, db)
    return bool(db.sql("SELECT 1 FROM lists SEMI JOIN gone USING (user_id) LIMIT 1").fetchall())


def _previous(night: Night) -> PreviousNight:
    """The night that tonight's lists can start from. Raises FullRefreshError where there is none."""
    if getattr(night.arguments, "full", False):
        raise FullRefreshError("--full")
    stored = previous_night(night.lake, night.date)
    if stored is None:
        raise FullRefreshError("no night before it has lists")
    commit, now = newest_commit(night.lake, RECOMMENDATIONS, stored.night), json.loads(commit_stamp(night))
    if commit is None:
        raise FullRefreshError(f"the table's log does not say for certain what {stored.night} was made from")
    then = commit.stamp.get("tags", {})
    if then.get("model_version") != now["tags"]["model_version"]:
        raise FullRefreshError(f"the model changed since {stored.night}")
    for key, words in (("config", "the settings"), ("code", "the code")):
        if commit.stamp.get(key) != now[key]:
            raise FullRefreshError(f"{words} changed since {stored.night}")
    if commit.stamp["reads"].keys() != now["reads"].keys():
        raise FullRefreshError(f"other tables are read than on {stored.night}")
    cadence = night.settings.slate.full_refresh_days
    if (night.date - stored.last_full_refresh).days >= cadence:
        raise FullRefreshError(f"the last full refresh was on {stored.last_full_refresh}, {cadence} days ago or more")
    return PreviousNight(stored, commit.stamp["reads"], then.get("rules"))
