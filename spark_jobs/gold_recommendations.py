"""gold.recommendations: one row per night and user with a history: the list to publish, best first. Where the model
takes what is said of users, also one for each who is described and has no history yet.

gold.histories up to the night's end, silver.items (what is available), silver.users (for a model or a rule that takes
what is said of users), the champion -> gold.recommendations, the night's partition. Exact: every user against every
item that the model knows; but only users for whom something has changed are scored again (rescored.py), which gives
what a night of everybody (`--full`) gives. With slate rules also gold.item_stats, and what they did -> ops.slate_rules:
slate_lists.py. `--model` names another model: a backfill takes the one that scored the night when it was first made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import models
from models.registry import Registered
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, RECOMMENDATIONS, USERS
from nightloom.lake import now
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs.changed_users import note_events
from spark_jobs.context import SparkNight
from spark_jobs.gold_histories import up_to
from spark_jobs.model_choice import MODEL, chosen
from spark_jobs.scoring import LISTS, score
from spark_jobs.scoring_scope import Tonight, make_whole, tonight

if TYPE_CHECKING:
    from nightloom.slate.plan import Plan

USERS_PER_TASK = 5_000  # a task of some seconds; its share of the histories fits a worker's memory


def recommendations(histories: DataFrame, users: int, model: Registered, hidden: list[str], length: int) -> DataFrame:
    """Histories of `users` users -> their lists. Sorted first, so that a batch holds the same users each time."""
    scored = partial(score, folder=str(model.folder), hidden=hidden, length=length)
    return batched(histories, users).mapInArrow(scored, LISTS).withColumn("model_version", F.lit(model.version))


def batched(histories: DataFrame, users: int) -> DataFrame:
    """Histories as score() takes them, spread over tasks."""
    return (
        histories.select("user_id", "items", "weights", F.col("at").cast("array<bigint>").alias("seconds"), "words")
        .repartition(ceil(users / USERS_PER_TASK) or 1, "user_id")
        .sortWithinPartitions("user_id")
    )


def worded(histories: DataFrame, described: DataFrame | None, *, strangers: bool = False) -> DataFrame:
    """Adds what silver.users says of each user, as words (see training.attributes); nothing without silver.users.

    With `strangers` also those of silver.users who have no history.
    """
    if described is None:
        return histories.withColumn("words", F.array().cast("array<string>"))
    entries = F.map_entries("attributes")
    words = F.transform(entries, lambda entry: F.concat(entry["key"], F.lit("="), entry["value"]))
    both = histories.join(described.select("user_id", words.alias("words")), "user_id", "full" if strangers else "left")
    arrays = [(name, kind) for name, kind in both.dtypes if kind.startswith("array")]
    return both.select("user_id", *(F.coalesce(name, F.array().cast(kind)).alias(name) for name, kind in arrays))


def stamped(lists: DataFrame, at: datetime) -> DataFrame:
    """One moment for the whole run."""
    return lists.withColumn("generated_at", F.lit(at))


def main(night: SparkNight) -> None:
    """Score the histories of those for whom something has changed, or everybody's."""
    model, slate = chosen(night), night.settings.slate
    strangers = models.definition(model.name).user_attributes and night.lake.exists(USERS)
    words = strangers or (bool(slate.user_attributes) and night.lake.exists(USERS))
    inputs = [HISTORIES, ITEMS, *([USERS] if words else []), *([ITEM_STATS] if slate.rules else [])]
    for table in inputs:
        night.pin(table)
    note_events(night)
    plan, facts = None, {"model_version": model.version}
    if slate.rules:
        from spark_jobs.slate_lists import night_plan  # numba: only where there are rules

        plan = night_plan(night)
        facts["rules"] = plan.digest  # as dates and events move, so do they
    made = night.settled(RECOMMENDATIONS, *inputs, **facts)
    if made and not getattr(night.arguments, "full", False):
        return
    with (
        tonight(night, lambda: model.model.item_ids, strangers=strangers) as who,
        _lists(night, model, plan, *_people(night, who, words=words, strangers=strangers)) as lists,
    ):
        rows = stamped(lists, now())
        if who.rest is not None:
            rows = rows.unionByName(who.rest)
        make_whole(night)
        rows = rows.withColumn("full_night", F.lit(who.full_night))
        if who.few:  # Spark takes two seconds to commit
            night.put(RECOMMENDATIONS, rows.withColumn("night", F.lit(night.date)).toArrow())
        else:
            night.replace(RECOMMENDATIONS, rows)
    print(f"{night.stage}: scored {who.why}")
    night.tags["scored"] = who.why


def _people(night: SparkNight, who: Tonight, *, words: bool, strangers: bool) -> tuple[DataFrame, int]:
    """The histories of those who are scored and what is said of them; about how many they are."""
    described = night.frame(USERS) if words else None
    if described is not None and who.users is not None:
        described = described.join(F.broadcast(who.users), "user_id", "left_semi")
    people = worded(up_to(who.weeks, night.end), described, strangers=strangers)
    return people, _everybody(night, strangers=strangers) if who.count is None else who.count


def _everybody(night: SparkNight, *, strangers: bool) -> int:
    """Users in any history, those whose first event is still to come included, or that are described; at most."""
    tables = (HISTORIES, *([USERS] if strangers else []))
    counts = [night.lake.rows(table, columns=[DISTINCT_USERS], version=night.pin(table)) for table in tables]
    return sum(int(counted["n"][0].as_py()) for counted in counts)


DISTINCT_USERS = "count(DISTINCT user_id) AS n"


@contextmanager
def _lists(
    night: SparkNight, model: Registered, plan: Plan | None, people: DataFrame, users: int
) -> Iterator[DataFrame]:
    """Lists by the rules where there are any."""
    if plan is None:
        unlisted = night.lake.rows(ITEMS, "NOT available", ["item_id"], night.pin(ITEMS))["item_id"].to_pylist()
        yield recommendations(people, users, model, unlisted, night.settings.slate.stored)
        return
    from spark_jobs.slate_lists import lists_by_rules

    with lists_by_rules(night, plan, model.version, str(model.folder), batched(people, users)) as lists:
        yield lists


if __name__ == "__main__":
    run_stage(
        stages.RECOMMENDATIONS,
        main,
        context=SparkNight,
        options=MODEL
        | {"--full": {"action": "store_true", "help": "score everybody, also those for whom nothing has changed"}},
    )
