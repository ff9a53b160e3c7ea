"""The lists of gold.recommendations by slate rules, and ops.slate_rules: a row per rule, how often it fired, its cost.

gold_recommendations.py calls this where nightloom.toml has slate rules; slate_scoring.py runs on the workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import ITEM_STATS, ITEMS, SLATE_RULES
from nightloom.lake import now
from nightloom.lake.described_items import compile_slate
from nightloom.night.context import Night
from nightloom.slate.plan import Plan
from nightloom.slate.slates import STATISTICS
from spark_jobs.context import SparkNight, cached
from spark_jobs.sent_model import SentModel
from spark_jobs.slate_scoring import SLATES, SentPlan, score_by_rules


def night_plan(night: SparkNight) -> Plan:
    """The night's compiled rules. Raises SettingsError, with the line, where one cannot be compiled."""
    return compile_slate(night.lake, night.settings, night.date, night.pin(ITEMS), night.pin(ITEM_STATS))


@contextmanager
def lists_by_rules(
    night: SparkNight, plan: Plan, version: str, model: SentModel, histories: DataFrame
) -> Iterator[DataFrame]:
    """Batched histories -> their lists by a model; after use, ops.slate_rules has what the rules did."""
    score = partial(score_by_rules, sent_model=model, sent=SentPlan(plan.digest, plan))
    lists = histories.mapInArrow(score, SLATES)
    with cached(lists) as rows:
        yield rows.drop("rule_statistics").withColumn("model_version", F.lit(version))
        sums = [F.sum(F.get("rule_statistics", F.lit(n))) for n in range(numbers_of(plan))]
        users, *found = rows.agg(F.count("user_id"), *sums).collect()[0]
        record_statistics(night, plan, users, [value or 0.0 for value in found])


def numbers_of(plan: Plan) -> int:
    """How many statistics the scoring by a plan gives."""
    return len(plan.rules) * STATISTICS + 1


def record_statistics(night: Night, plan: Plan, users: int, sums: Sequence[float]) -> None:
    """Write what the rules did to the lists of `users` users; `sums`: of the statistics of slate_scoring.SLATES."""
    *statistics, relevance = sums or [0.0] * numbers_of(plan)
    stamp = {"run_id": night.run_id, "night": night.date, "users": users, "counted_at": now()}
    declared, rows = dict(night.settings.slate.rules), []
    for number, compiled in enumerate(plan.rules):
        changed, entries, score_lost, lost = statistics[number * STATISTICS : (number + 1) * STATISTICS]
        kind = declared[compiled.name].kind()
        rule = {"place": number + 1, "rule": compiled.name, "kind": kind, "items": compiled.items}
        effect = {"lists": int(changed), "entries": int(entries), "score_lost": score_lost}
        rows.append(stamp | rule | effect | {"relevance_lost": lost / relevance if relevance else 0.0})
        night.counts[f"rule {compiled.name}"] = int(changed)
    night.lake.append(SLATE_RULES, rows)
    night.record_write(SLATE_RULES)
