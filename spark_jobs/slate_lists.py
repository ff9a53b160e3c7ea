"""The lists of gold.recommendations by slate rules, and ops.slate_rules: a row per rule, how often it fired, its cost.

The way of gold_recommendations.py where nightloom.toml has slate rules; the workers' side is ruled.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import ITEM_STATS, ITEMS, SLATE_RULES
from nightloom.lake import now
from nightloom.slate import compile as slate_plan
from nightloom.slate.plan import Plan
from spark_jobs.context import SparkNight
from spark_jobs.silver import cached
from spark_jobs.slate_scoring import PER_RULE, RULED, score


def compiled(night: SparkNight) -> Plan:
    """The night's rules; SettingsError names the line of one that cannot be."""
    return slate_plan.plan(night.lake, night.settings, night.date, night.pin(ITEMS), night.pin(ITEM_STATS))


@contextmanager
def counted(night: SparkNight, plan: Plan, version: str, folder: str, histories: DataFrame) -> Iterator[DataFrame]:
    """Batched histories -> their lists by the model in `folder`; after use, what the rules did is written down."""
    lists = histories.mapInArrow(partial(score, folder=folder, plan=plan), RULED)
    with cached(lists) as rows:
        yield rows.drop("done").withColumn("model_version", F.lit(version))
        _count(night, plan, rows)


def _count(night: SparkNight, plan: Plan, lists: DataFrame) -> None:
    sums = [F.sum(F.get("done", F.lit(n))) for n in range(len(plan.names) * PER_RULE + 1)]
    users, *found = lists.agg(F.count("user_id"), *sums).collect()[0]
    *done, relevance = [value or 0.0 for value in found]
    stamp = {"run_id": night.run_id, "night": night.date, "users": users, "counted_at": now()}
    kinds, rows = dict(night.settings.slate.rules), []
    for number, (name, items) in enumerate(zip(plan.names, plan.items, strict=True)):
        changed, entries, score_lost, lost = done[number * PER_RULE : (number + 1) * PER_RULE]
        rule = {"place": number + 1, "rule": name, "kind": type(kinds[name]).__name__.lower(), "items": items}
        did = {"lists": int(changed), "entries": int(entries), "score_lost": score_lost}
        rows.append(stamp | rule | did | {"relevance_lost": lost / relevance if relevance else 0.0})
        night.counts[f"rule {name}"] = int(changed)
    night.lake.append(SLATE_RULES, rows)
    night.record_write(SLATE_RULES)
