"""The stages, in the order of the night: DAGs, commands, records, pages and documents take names and order from here.

A DAG file imports this module, so it imports nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Layer = Literal["bronze", "silver", "gold", "models", "serving", "ops"]


@dataclass(frozen=True)
class Stage:
    """One command, `python -m NAME --date D`."""

    name: str
    """The stage's module, its task in Airflow, and its name in the records."""
    layer: Layer
    """Where its results are: a layer of the lake, the model registry, or the serving store."""
    summary: str
    """What it does, as in docs/night.md."""
    gate: str = ""
    """Name under which its checks are recorded; empty for a stage that is no gate."""
    spark: bool = False
    """Whether the night's Spark server stays until it has ended."""
    reads: tuple[str, ...] = ()
    """Tables that it may read, by their full names; which of them it needs depends on the settings."""
    writes: tuple[str, ...] = ()
    """Tables that it may write, those of the layer `ops` aside."""
    gib: float = field(kw_only=True)
    """Memory budget: what it takes at most, with its children and the night's Spark server, however much data there is.
    `./run bench scale` measures it, and fails where a stage takes more."""
    cores: float = 2.0
    """What it can use at least; an executor that reserves cores for a task reserves so many."""


BRONZE = Stage(
    "spark_jobs.bronze",
    "bronze",
    "takes each new record exactly once",
    spark=True,
    writes=("bronze.events", "bronze.items", "bronze.users"),
    gib=5,
)
SILVER_ITEMS = Stage(
    "spark_jobs.silver_items",
    "silver",
    "the last description of each item",
    spark=True,
    reads=("bronze.items",),
    writes=("silver.items", "silver.unused_rows", "quarantine.rows"),
    gib=5,
)
SILVER_USERS = Stage(
    "spark_jobs.silver_users",
    "silver",
    "the last description of each user",
    spark=True,
    reads=("bronze.users",),
    writes=("silver.users", "silver.unused_rows", "quarantine.rows"),
    gib=5,
)
SILVER_INTERACTIONS = Stage(
    "spark_jobs.silver_interactions",
    "silver",
    "types, checks, deduplicates, merges",
    spark=True,
    reads=("bronze.events",),
    writes=("silver.interactions", "silver.unused_rows", "quarantine.rows"),
    gib=7,
)
DATA_GATE = Stage(
    "expectations.gate",
    "ops",
    "**gate 1, data**: [what it checks](quality.md)",
    gate="data",
    spark=True,
    reads=(
        "bronze.events",
        "bronze.items",
        "bronze.users",
        "quarantine.rows",
        "silver.interactions",
        "silver.items",
        "silver.users",
        "silver.unused_rows",
    ),
    gib=8,
)
HISTORIES = Stage(
    "spark_jobs.gold_histories",
    "gold",
    "each user's history",
    spark=True,
    reads=("silver.interactions", "quarantine.rows"),
    writes=("gold.histories",),
    gib=7,
)
ITEM_DAYS = Stage(
    "spark_jobs.gold_item_days",
    "gold",
    "each item's numbers of each day",
    spark=True,
    reads=("silver.interactions", "quarantine.rows"),
    writes=("gold.item_days",),
    gib=7,
)
ITEM_STATS = Stage(
    "spark_jobs.gold_item_stats",
    "gold",
    "each item's numbers up to the night",
    spark=True,
    reads=("gold.item_days",),
    writes=("gold.item_stats",),
    gib=7,
)
POPULAR = Stage(
    "spark_jobs.gold_popular",
    "gold",
    "the lists for users without a history",
    spark=True,
    reads=("silver.interactions", "silver.items", "silver.users", "gold.item_stats"),
    writes=("gold.popular",),
    gib=7,
)
TRAIN = Stage(
    "training.train",
    "models",
    "trains each declared model, when due",
    reads=("silver.interactions", "silver.items", "silver.users"),
    gib=8,
)
MODEL_GATE = Stage(
    "training.model_gate",
    "models",
    "**gate 2, model**; refits the winner on all days",
    gate="model",
    reads=("silver.interactions", "silver.items", "silver.users"),
    gib=8,
)
RECOMMENDATIONS = Stage(
    "spark_jobs.gold_recommendations",
    "gold",
    "every user against every item, exactly; [slate rules](slate.md)",
    spark=True,
    reads=("silver.interactions", "silver.items", "silver.users", "gold.histories", "gold.item_stats"),
    writes=("gold.recommendations",),
    gib=7,
)
SIMILAR_ITEMS = Stage(
    "spark_jobs.gold_similar_items",
    "gold",
    "similar items of each item",
    spark=True,
    reads=("silver.items", "gold.item_stats"),
    writes=("gold.similar_items",),
    gib=7,
)
SLATE_GATE = Stage(
    "serving.slate_gate",
    "ops",
    "**gate 3, slate**",
    gate="slate",
    reads=(
        "silver.items",
        "silver.users",
        "gold.histories",
        "gold.item_days",
        "gold.item_stats",
        "gold.popular",
        "gold.recommendations",
        "gold.similar_items",
    ),
    gib=8,
)
PUBLISH = Stage(
    "serving.publish",
    "serving",
    "builds version N+1 beside N, checks it, flips one pointer",
    reads=("silver.items", "gold.popular", "gold.recommendations", "gold.similar_items"),
    gib=7,
)
REPORT = Stage("serving.report", "ops", "the night on one page", gib=6)
MARTS = Stage("spark_jobs.marts", "gold", "what [people ask](sql.md)", spark=True, gib=8)
MARTS_CHECK = Stage("expectations.marts", "ops", "their expectations; closes nothing", gate="marts", gib=7)

NIGHT = (
    BRONZE, SILVER_ITEMS, SILVER_USERS, SILVER_INTERACTIONS, DATA_GATE, HISTORIES, ITEM_DAYS, ITEM_STATS, POPULAR,
    TRAIN, MODEL_GATE, RECOMMENDATIONS, SIMILAR_ITEMS, SLATE_GATE, PUBLISH, REPORT, MARTS, MARTS_CHECK,
)  # fmt: skip
"""The night's order: no stage waits for a later one."""
GATES = (DATA_GATE, MODEL_GATE, SLATE_GATE)
"""Stages that stop the night when a check fails."""

TRAINING_DUE = Stage("training.due", "models", "says whether training is due, and why", gib=2)
MAINTENANCE = Stage("spark_jobs.maintenance", "ops", "deletes old rows and versions, puts small files together", gib=8)

ALL = (*NIGHT, TRAINING_DUE, MAINTENANCE)
