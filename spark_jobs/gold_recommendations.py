"""gold.recommendations: the list to publish for each night and user with a history, best first. Where the model uses
user attributes, also for each user who has attributes and no history yet.

gold.histories up to the night's end, silver.items (what is available), silver.users (for a model or a rule that uses
attributes), the champion -> the night's rows of gold.recommendations. Exact: every user against every item that the
model knows. Only users with a changed input are scored again (scoring_scope.py), with the same result as a full refresh
(`--full`). Slate rules also read gold.item_stats, and what they did goes to ops.slate_rules: slate_lists.py. `--model`
names another model: a backfill uses the one that scored the night first. Without a champion nobody has a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import models
from models.registry import RegisteredVersion
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, RECOMMENDATIONS, USERS
from nightloom.lake import now
from nightloom.lake.recommendations import StoredNight, dependent_nights, night_columns, nightly_lists
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.changed_users import note_interactions
from spark_jobs.commit_stamps import is_up_to_date, replace_night, sql_date
from spark_jobs.context import SparkNight
from spark_jobs.gold_histories import histories_until
from spark_jobs.in_process_scoring import lists_in_process
from spark_jobs.model_choice import MODEL, night_model
from spark_jobs.scoring import LISTS, score
from spark_jobs.scoring_scope import UsersInProcess, UsersOnSpark, lists_view, scoring_scope
from spark_jobs.sent_model import SentModel

if TYPE_CHECKING:
    from nightloom.slate.plan import Plan

USERS_PER_TASK = 5_000  # a task of some seconds; its share of the histories fits a worker's memory


def recommendations(
    histories: DataFrame, users: int, version: str, model: SentModel, hidden: list[str], length: int
) -> DataFrame:
    """Histories of `users` users -> their lists. Sorted first, so that a batch holds the same users each time."""
    scored = partial(score, sent=model, hidden=hidden, length=length)
    return in_batches(histories, users).mapInArrow(scored, LISTS).withColumn("model_version", F.lit(version))


def in_batches(histories: DataFrame, users: int) -> DataFrame:
    """Histories as score() expects them, spread over tasks."""
    return (
        histories.select(
            "user_id", "items", "weights", F.col("at").cast("array<bigint>").alias("seconds"), "attributes"
        )
        .repartition(ceil(users / USERS_PER_TASK) or 1, "user_id")
        .sortWithinPartitions("user_id")
    )


def with_attributes(histories: DataFrame, described: DataFrame | None, *, without_history: bool = False) -> DataFrame:
    """Histories with each user's attributes of silver.users, as `NAME=VALUE`; without silver.users, none.

    `without_history` adds the users of silver.users who have no history.
    """
    if described is None:
        return histories.withColumn("attributes", F.array().cast("array<string>"))
    entries = F.map_entries("attributes")
    attributes = F.transform(entries, lambda entry: F.concat(entry["key"], F.lit("="), entry["value"]))
    both = histories.join(
        described.select("user_id", attributes.alias("attributes")), "user_id", "full" if without_history else "left"
    )
    arrays = [(name, kind) for name, kind in both.dtypes if kind.startswith("array")]
    return both.select("user_id", *(F.coalesce(name, F.array().cast(kind)).alias(name) for name, kind in arrays))


def with_generated_at(lists: DataFrame, at: datetime) -> DataFrame:
    """Lists with the moment when they were scored, one for the whole run."""
    return lists.withColumn("generated_at", F.lit(at))


def main(night: SparkNight) -> None:
    """Score the users with a changed input, or everybody."""
    model, slate = night_model(night), night.settings.slate
    if model is None:
        night.create(RECOMMENDATIONS)
        return
    without_history = models.definition(model.name).user_features and night.lake.exists(USERS)
    with_users = without_history or (bool(slate.user_attributes) and night.lake.exists(USERS))
    inputs = [HISTORIES, ITEMS, *([USERS] if with_users else []), *([ITEM_STATS] if slate.rules else [])]
    for table in inputs:
        night.pin(table)
    note_interactions(night)
    plan, tags = None, {"model_version": model.version}
    if slate.rules:
        from spark_jobs.slate_lists import night_plan  # numba: only where there are rules

        plan = night_plan(night)
        tags["rules"] = plan.digest  # as dates and events move, so do they
    up_to_date = is_up_to_date(night, RECOMMENDATIONS, *inputs, **tags)
    if up_to_date and not getattr(night.arguments, "full", False):
        return
    attributes = {"with_users": with_users, "without_history": without_history}
    with scoring_scope(night, lambda: model.model.item_ids, plan, without_history=without_history) as scope:
        if isinstance(scope.scored, UsersInProcess):
            _free_dependent_nights(night)
            lists = lists_in_process(night, model, plan, scope.scored, **attributes)
            replace_night(night, RECOMMENDATIONS, _placed(lists, night_columns(night.date, scope.previous)))
        else:
            _write_many(night, model, plan, scope.scored, scope.previous, **attributes)
    print(f"{night.stage}: scored {scope.reason}")
    night.tags["scored"] = scope.reason


def _free_dependent_nights(night: SparkNight) -> None:
    """Write later nights that take lists from this one as full refreshes of their own."""
    for later in dependent_nights(night.lake, night.date):
        rows = night.spark.sql(nightly_lists(night.lake, later, source=lists_view(night)))
        _store(night, rows, night_columns(later))
        print(f"{night.stage}: {later} took lists from {night.date}; it has its own now")


def _placed(rows: pa.Table, columns: Mapping[str, date]) -> pa.Table:
    """Rows with columns that have one value in all of them."""
    for name, value in columns.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.date32()), rows.num_rows))
    return rows


def _write_many(
    night: SparkNight,
    model: RegisteredVersion,
    plan: Plan | None,
    scope: UsersOnSpark,
    previous: StoredNight | None,
    *,
    with_users: bool,
    without_history: bool,
) -> None:
    """Score by Spark, and store the night's rows: new lists and those that are carried over from the previous night."""
    histories, count = _histories(night, scope, with_users=with_users, without_history=without_history)
    with _lists(night, model, plan, histories, count) as lists:
        rows = with_generated_at(lists, now())
        _free_dependent_nights(night)
        _store(
            night,
            rows if scope.carried is None else rows.unionByName(scope.carried),
            night_columns(night.date, previous),
        )


def _store(night: SparkNight, rows: DataFrame, columns: Mapping[str, date]) -> None:
    for name, value in columns.items():
        rows = rows.withColumn(name, F.lit(value))
    night.overwrite(RECOMMENDATIONS, rows, f"night = {sql_date(columns['night'])}")


def _histories(
    night: SparkNight, scope: UsersOnSpark, *, with_users: bool, without_history: bool
) -> tuple[DataFrame, int]:
    """The histories of the users who are scored, with their attributes; about how many users they are."""
    described = night.frame(USERS) if with_users else None
    if described is not None and scope.users is not None:
        described = described.join(F.broadcast(scope.users), "user_id", "left_semi")
    histories = with_attributes(histories_until(scope.histories, night.end), described, without_history=without_history)
    return histories, _count_users(night, without_history=without_history) if scope.count is None else scope.count


def _count_users(night: SparkNight, *, without_history: bool) -> int:
    """How many users can have a list at most: some histories have future events only, some users attributes only."""
    tables = (HISTORIES, *([USERS] if without_history else []))
    counts = [night.lake.rows(table, columns=[DISTINCT_USERS], version=night.pin(table)) for table in tables]
    return sum(int(counted["n"][0].as_py()) for counted in counts)


DISTINCT_USERS = "count(DISTINCT user_id) AS n"


@contextmanager
def _lists(
    night: SparkNight, model: RegisteredVersion, plan: Plan | None, histories: DataFrame, users: int
) -> Iterator[DataFrame]:
    """The users' lists, by the slate rules where there are any."""
    sent = night.send_model(model.folder)
    if plan is None:
        unlisted = night.lake.rows(ITEMS, "NOT available", ["item_id"], night.pin(ITEMS))["item_id"].to_pylist()
        yield recommendations(histories, users, model.version, sent, unlisted, night.settings.slate.stored)
        return
    from spark_jobs.slate_lists import lists_by_rules

    with lists_by_rules(night, plan, model.version, sent, in_batches(histories, users)) as lists:
        yield lists


if __name__ == "__main__":
    run_stage(
        stages.RECOMMENDATIONS,
        main,
        context=SparkNight,
        options=MODEL | {"--full": {"action": "store_true", "help": "score everybody, also unchanged users"}},
    )
