"""gold.recommendations: one row per night and user with a history: the list to publish, best first.

gold.histories up to the night's end, silver.items (what is available), silver.users (for a model or a rule that takes
what is said of users), the champion -> gold.recommendations, the night's partition. Exact: every user against every
item that the model knows; but only users for whom something has changed are scored again (rescored.py), which gives
what a night of everybody (`--full`) gives. With slate rules also gold.item_stats, and what they did -> ops.slate_rules:
ruled_lists.py. `--model` names another model: a backfill takes the one that scored the night when it was first made.
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

from nightloom.lake import now
from nightloom.manifest import run_stage
from nightloom.tables import HISTORIES, ITEM_STATS, ITEMS, RECOMMENDATIONS, USERS
from spark_jobs.chosen import MODEL, chosen
from spark_jobs.gold_histories import up_to
from spark_jobs.night import SparkNight
from spark_jobs.rescored import Tonight, make_whole, note_events, tonight
from spark_jobs.scoring import LISTS, score
from training.models import KINDS
from training.registry import Registered

if TYPE_CHECKING:
    from nightloom.slate import Plan

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


def worded(histories: DataFrame, described: DataFrame | None) -> DataFrame:
    """Adds what silver.users says of each user, as words (see training.words); nothing without silver.users."""
    nothing = F.array().cast("array<string>")
    if described is None:
        return histories.withColumn("words", nothing)
    entries = F.map_entries("attributes")
    words = F.transform(entries, lambda entry: F.concat(entry["key"], F.lit("="), entry["value"]))
    return histories.join(described.select("user_id", words.alias("words")), "user_id", how="left").withColumn(
        "words", F.coalesce("words", nothing)
    )


def stamped(lists: DataFrame, at: datetime) -> DataFrame:
    """One moment for the whole run."""
    return lists.withColumn("generated_at", F.lit(at))


def _users(night: SparkNight) -> int:
    """Users in any history, those whose first event is still to come included."""
    counted = night.lake.rows(HISTORIES, columns=["count(DISTINCT user_id) AS n"], version=night.pin(HISTORIES))
    return int(counted["n"][0].as_py())


def main(night: SparkNight) -> None:
    """Score the histories of those for whom something has changed, or everybody's."""
    model, slate = chosen(night), night.settings.slate
    takes_words = bool(KINDS[model.name].features or slate.user_attributes) and night.lake.exists(USERS)
    inputs = [HISTORIES, ITEMS, *([USERS] if takes_words else []), *([ITEM_STATS] if slate.rules else [])]
    for table in inputs:
        night.pin(table)
    note_events(night)
    plan, facts = None, {"model_version": model.version}
    if slate.rules:
        from spark_jobs import ruled_lists  # numba: only where there are rules

        plan = ruled_lists.compiled(night)
        facts["rules"] = plan.digest  # as dates and events move, so do they
    made = night.settled(RECOMMENDATIONS, *inputs, **facts)
    if made and not getattr(night.arguments, "full", False):
        return
    with tonight(night, lambda: model.model.item_ids) as who, _lists(night, model, plan, who, takes_words) as lists:
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
    night.facts["scored"] = who.why


@contextmanager
def _lists(
    night: SparkNight, model: Registered, plan: Plan | None, who: Tonight, takes_words: bool
) -> Iterator[DataFrame]:
    """The lists of those who are scored, by the rules where there are any."""
    users = _users(night) if who.count is None else who.count
    histories = worded(up_to(who.weeks, night.end), night.frame(USERS) if takes_words else None)
    if plan is None:
        unlisted = night.lake.rows(ITEMS, "NOT available", ["item_id"], night.pin(ITEMS))["item_id"].to_pylist()
        yield recommendations(histories, users, model, unlisted, night.settings.slate.stored)
        return
    from spark_jobs import ruled_lists

    with ruled_lists.counted(night, plan, model.version, str(model.folder), batched(histories, users)) as lists:
        yield lists


if __name__ == "__main__":
    run_stage(
        "spark_jobs.gold_recommendations",
        main,
        frame=SparkNight,
        options=MODEL
        | {"--full": {"action": "store_true", "help": "score everybody, also those for whom nothing has changed"}},
    )
