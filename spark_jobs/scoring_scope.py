"""Who is scored tonight: users for whom something that lists are made of has changed since the night before.

That is their own events (by the change feed, and events whose time has only now come), what is said of them
where the model or a rule takes it, or an item in their list that is hidden now. All others keep their list: their row
of the night before, or that of the last full night.
Everybody is scored, and the night is a full one, where that cannot be decided user by user: another model, other
settings, code or rules, an item that is available again, somebody without a history any more; and on the cadence of
slate.full_refresh_days.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import HISTORIES, RECOMMENDATIONS, USERS
from nightloom.lake.duck import spilling_duckdb
from nightloom.lake.recommendations import full_night, whole
from spark_jobs.changed_users import VIEW, Before, EverybodyError, Strings, changed_users, lists_of
from spark_jobs.context import SparkNight
from spark_jobs.silver import cached

FEW_USERS = 100_000
"""With no more of them to score or to copy, their weeks and their lists fit in this process: some 100 MB each."""
MANY_USERS = 0.5
"""Share of all users: with more of them to score or to copy, everybody is scored."""
MANY_GONE = 1_000
"""Users without a history: with more of them it is not asked whether they had a list."""
WEEKS = ("week", "user_id", "items", "weights", "at")
TONIGHT = ("user_id", "items", "scores", "model_version", "generated_at")


@dataclass(frozen=True)
class Tonight:
    """Who is scored, and what stands beside their lists."""

    why: str
    full_night: date
    weeks: DataFrame
    """Rows of gold.histories (WEEKS) of those who are scored."""
    users: DataFrame | None = None
    """Who they are (user_id); None: everybody."""
    count: int | None = None
    """How many they are; None: everybody."""
    rest: DataFrame | None = None
    """Rows (TONIGHT) of users who were scored between the full night and tonight."""
    few: bool = False
    """Whether all that is written fits in this process."""


@contextmanager
def tonight(night: SparkNight, item_ids: Callable[[], Strings], *, strangers: bool = False) -> Iterator[Tonight]:
    """Who is scored; all inputs are pinned, and `night.tags` says what else the lists depend on.

    `item_ids` gives those that the model knows: seldom asked for, and the model has to be read for it. With `strangers`
    who is described has a list, with a history or without.
    """
    weeks = night.frame(HISTORIES).select(*WEEKS)
    with ExitStack() as opened:
        try:
            before = _before(night)
            changed = opened.enter_context(cached(changed_users(night, before, item_ids)))
            count, copied = _counted(night, before, changed)
            own = opened.enter_context(_own(night, weeks, changed, count))
            _none_gone(night, before, changed, own, count, strangers=strangers)
        except EverybodyError as why:
            yield Tonight(f"everybody: {why}", night.date, weeks)
            return
        few = count + copied <= FEW_USERS
        if count or copied:
            rest = _rest(night, before, changed) if copied else None
            yield Tonight(
                f"{count:,} users changed since {before.night}", before.full_night, own, changed, count, rest, few
            )
            return
        # One of the full night's users, so that the night is in the table; asked once, for a limit may give another.
        somebody = lists_of(night).where(F.col("night") == F.lit(before.full_night)).select("user_id").head(1)
        anybody = night.spark.createDataFrame(somebody, "user_id string")
        one = weeks.join(F.broadcast(anybody), "user_id", "left_semi")
        yield Tonight(f"nobody changed since {before.night}", before.full_night, one, anybody, 1, few=few)


def _counted(night: SparkNight, before: Before, changed: DataFrame) -> tuple[int, int]:
    """How many users changed, and how many did before, since the full night."""
    count, everybody = changed.count(), _rows(night, before.full_night)
    copied = 0 if before.night == before.full_night else _rows(night, before.night)
    if count + copied > MANY_USERS * everybody:
        raise EverybodyError(f"{count:,} users changed and {copied:,} did before, of {everybody:,}")
    return count, copied


def _rest(night: SparkNight, before: Before, changed: DataFrame) -> DataFrame:
    """The rows of those who changed before, since the full night, and not now."""
    of_night = lists_of(night).where(F.col("night") == F.lit(before.night)).select(*TONIGHT)
    return of_night.join(F.broadcast(changed), "user_id", "left_anti")


@contextmanager
def _own(night: SparkNight, weeks: DataFrame, changed: DataFrame, count: int) -> Iterator[DataFrame]:
    """The weeks of those who changed; of not many, DuckDB finds them in a fifth of Spark's time."""
    if count > FEW_USERS:
        with cached(weeks.join(F.broadcast(changed), "user_id", "left_semi")) as rows:
            yield rows
        return
    files, names = night.read(HISTORIES).file_uris(), ", ".join(f'"{name}"' for name in WEEKS)
    with spilling_duckdb(night.settings.place("home")) as db:
        db.register("changed", changed.toArrow())
        db.read_parquet(files, hive_partitioning=True).create_view("weeks")
        own = db.sql(f"SELECT {names} FROM weeks SEMI JOIN changed USING (user_id)").to_arrow_table()
    yield night.spark.createDataFrame(own) if own.num_rows else weeks.limit(0)  # Spark takes no empty Arrow table


def _none_gone(
    night: SparkNight, before: Before, changed: DataFrame, own: DataFrame, count: int, *, strangers: bool
) -> None:
    """All who changed and have a list have a history still, or are described where that is enough."""
    still = own.where(F.exists("at", lambda at: at < F.lit(night.end))).select("user_id").distinct()
    if strangers:
        described = night.frame(USERS).select("user_id").join(F.broadcast(changed), "user_id", "left_semi")
        still = still.union(described).distinct()
    if still.count() == count:
        return
    gone = [row["user_id"] for row in changed.join(still, "user_id", "left_anti").limit(MANY_GONE).collect()]
    if gone:
        lists_of(night)
        listed = night.spark.sql(whole(VIEW, before.night, before.full_night)).where(F.col("user_id").isin(gone))
        if len(gone) == MANY_GONE or listed.limit(1).count():
            raise EverybodyError("somebody has no history any more" + (" and no description" if strangers else ""))


def _rows(night: SparkNight, of: date) -> int:
    counted = night.lake.rows(RECOMMENDATIONS, f"night = DATE '{of}'", ["count(*) AS n"])
    return int(counted["n"][0].as_py())


def _before(night: SparkNight) -> Before:
    """The night that tonight's lists can begin with."""
    if getattr(night.arguments, "full", False):
        raise EverybodyError("--full")
    found = None
    if night.lake.exists(RECOMMENDATIONS):
        earlier = night.lake.rows(RECOMMENDATIONS, f"night < DATE '{night.date}'", ["max(night) AS night"])
        found = earlier["night"][0].as_py()
    if found is None:
        raise EverybodyError("no night before it has lists")
    (_, stamp), now = night.made(RECOMMENDATIONS, found), json.loads(night.stamp)
    if not stamp:
        raise EverybodyError(f"the table's log does not say for certain what {found} was made from")
    for key, words in (("facts", "the model or a rule"), ("config", "the settings"), ("code", "the code")):
        if stamp[key] != now[key]:
            raise EverybodyError(f"{words} changed since {found}")
    if stamp["reads"].keys() != now["reads"].keys():
        raise EverybodyError(f"other tables are read than on {found}")
    full, cadence = full_night(night.lake, found), night.settings.slate.full_refresh_days
    if (night.date - full).days >= cadence:
        raise EverybodyError(f"they were last on {full}, {cadence} days ago or more")
    return Before(found, stamp["reads"], full)


def make_whole(night: SparkNight) -> None:
    """Give later nights that point to this one rows of their own for everybody, before its rows are made anew."""
    if not night.lake.exists(RECOMMENDATIONS):
        return
    pointing = f"full_night = DATE '{night.date}' AND night > DATE '{night.date}'"
    for later in sorted(night.lake.rows(RECOMMENDATIONS, pointing, ["DISTINCT night"])["night"].to_pylist()):
        lists_of(night)
        rows = night.spark.sql(whole(VIEW, later, night.date)).withColumn("full_night", F.lit(later))
        night.overwrite(RECOMMENDATIONS, rows, f"night = DATE '{later}'")
        print(f"{night.stage}: {later} pointed to the lists of {night.date}; it has its own now")
