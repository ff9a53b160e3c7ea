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

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, RECOMMENDATIONS, USERS
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import StoredNight, nightly_lists, previous_night, rows_to_carry
from nightloom.literals import sql_name
from spark_jobs.changed_users import (
    FullRefreshError,
    PreviousNight,
    Strings,
    changed_users,
    lists_view,
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
class ScoringScope:
    """Which users are scored, and which lists of the previous night are stored again."""

    reason: str
    histories: DataFrame
    """Rows of gold.histories (HISTORY_COLUMNS) of the users who are scored."""
    users: DataFrame | None = None
    """Those users (user_id); None: everybody."""
    count: int | None = None
    """How many they are; None: everybody."""
    previous: StoredNight | None = None
    """The night whose lists unchanged users keep; None in a full refresh."""
    carried: DataFrame | None = None
    """Rows (CARRIED_COLUMNS) of the previous night that are stored again."""
    fits_in_process: bool = False
    """Whether the night's rows fit in this process."""


@contextmanager
def scoring_scope(
    night: SparkNight, item_ids: Callable[[], Strings], plan: Plan | None = None, *, without_history: bool = False
) -> Iterator[ScoringScope]:
    """The night's scope; all inputs are pinned, `plan` has the slate rules, if any, and `night.tags` the model.

    `item_ids` gives the items that the model knows: seldom called, because it reads the model. `without_history` says
    that the model also scores users who have attributes only.
    """
    histories = night.frame(HISTORIES).select(*HISTORY_COLUMNS)
    with ExitStack() as opened:
        try:
            previous = _previous(night)
            changed = opened.enter_context(cached(changed_users(night, previous, item_ids, plan)))
            count = changed.count()
            _check_share(previous.stored, count)
            own = opened.enter_context(_histories_of(night, histories, changed, count))
            _check_histories(night, previous, changed, own, count, without_history=without_history)
        except FullRefreshError as why:
            yield ScoringScope(f"everybody: {why}", histories)
            return
        stored = previous.stored
        reason = f"{count:,} users changed since {stored.night}"
        if not count and not stored.changed:
            reason = f"nobody changed since {stored.night}"
        carried = _carried(night, stored, changed) if stored.changed or not count else None
        fits = count + stored.changed <= FEW_USERS
        yield ScoringScope(reason, own, changed, count, stored, carried, fits)


def _check_share(previous: StoredNight, count: int) -> None:
    if count + previous.changed > MAX_CHANGED_SHARE * previous.lists:
        raise FullRefreshError(f"{count:,} users changed and {previous.changed:,} did before, of {previous.lists:,}")


def _carried(night: SparkNight, previous: StoredNight, changed: DataFrame) -> DataFrame:
    """Lists of the previous night that are stored again, without those of users who changed now."""
    rows = night.spark.sql(rows_to_carry(previous, lists_view(night)))
    return rows.join(F.broadcast(changed), "user_id", "left_anti")


@contextmanager
def _histories_of(night: SparkNight, histories: DataFrame, changed: DataFrame, count: int) -> Iterator[DataFrame]:
    """The histories of changed users; DuckDB finds those of few users in a fifth of Spark's time."""
    if count > FEW_USERS:
        with cached(histories.join(F.broadcast(changed), "user_id", "left_semi")) as rows:
            yield rows
        return
    files = night.lake.files(HISTORIES, night.pin(HISTORIES))
    names = ", ".join(map(sql_name, HISTORY_COLUMNS))
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.register("changed", changed.toArrow())
        read_parquet(db, files, hive_partitioning=True).create_view("histories")
        own = db.sql(f"SELECT {names} FROM histories SEMI JOIN changed USING (user_id)").to_arrow_table()
    yield night.spark.createDataFrame(own) if own.num_rows else histories.limit(0)  # Spark takes no empty Arrow table


def _check_histories(
    night: SparkNight,
    previous: PreviousNight,
    changed: DataFrame,
    own: DataFrame,
    count: int,
    *,
    without_history: bool,
) -> None:
    """Raises FullRefreshError where a changed user had a list and can have none any more."""
    scorable = own.where(F.exists("at", lambda at: at < F.lit(night.end))).select("user_id").distinct()
    if without_history:
        described = night.frame(USERS).select("user_id").join(F.broadcast(changed), "user_id", "left_semi")
        scorable = scorable.union(described).distinct()
    if scorable.count() == count:
        return
    others = changed.join(scorable, "user_id", "left_anti").limit(MAX_WITHOUT_HISTORY)
    gone = [row["user_id"] for row in others.collect()]
    if gone:
        lists = night.spark.sql(nightly_lists(night.lake, previous.night, source=lists_view(night)))
        if len(gone) == MAX_WITHOUT_HISTORY or lists.where(F.col("user_id").isin(gone)).limit(1).count():
            missing = "history or description" if without_history else "history"
            raise FullRefreshError(f"a user has no {missing} any more")


def _previous(night: SparkNight) -> PreviousNight:
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
