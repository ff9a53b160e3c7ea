"""A project in a temporary folder, and rows with defaults, so that a test shows only what matters."""

import shutil
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from deltalake import write_deltalake

from nightloom import contracts as T
from nightloom import settings as settings_module
from nightloom.lake import arrow
from nightloom.night.context import Night
from nightloom.settings import Settings

D = date(1998, 4, 21)
NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
BRONZE = {
    "row_id": sha256(b"1").hexdigest(),
    "raw": "{}",
    "file": "f.json",
    "file_modified_at": NOON,
    "lines": None,
    "problem": None,
    "file_summary": None,
    "ingested_at": NOON,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "bronze.events": BRONZE | {"source": "ratings"},
    "bronze.items": BRONZE | {"source": "catalogue"},
    "bronze.users": BRONZE | {"source": "members"},
    "quarantine.rows": {
        "row_id": "q1", "kind": "events", "source": "ratings", "reason": "type", "detail": "value is 'x', not double",
        "raw": "{}", "file": "f.json", "state": "waiting", "replayed_as": None, "decided_at": None, "decided_by": None,
    },
    "silver.interactions": {
        "event_id": "e1", "user_id": "u1", "item_id": "i1", "event": "rating", "value": 4.0, "weight": 1.0,
        "occurred_at": NOON, "rescued": None, "row_id": "r1",
    },
    "silver.unused_rows": {
        "row_id": "r2", "kind": "events", "source": "ratings", "outcome": "duplicate", "detail": "e1",
        "occurred_at": NOON,
    },
    "silver.items": {
        "item_id": "i1", "title": "One", "categories": ["a"], "attributes": [("year", "1990")], "available": True,
        "updated_at": NOON, "row_id": "r1",
    },
    "silver.users": {"user_id": "u1", "attributes": [], "updated_at": NOON, "row_id": "r1"},
    "gold.histories": {
        "week": T.HISTORIES.period_of(D), "user_id": "u1", "items": ["i1"], "weights": [1.0], "at": [NOON],
        "event_ids": ["e1"],
    },
    "gold.item_days": {
        "day": D, "item_id": "i1", "events": 2, "users": 1, "weight": 1.0, "first_at": NOON, "last_at": NOON,
    },
    "gold.item_stats": {
        "item_id": "i1", "events_1d": 1, "events_7d": 2, "events_28d": 3, "events": 4, "popularity": 1.5,
        "first_at": NOON, "last_at": NOON,
    },
    "gold.user_days": {"day": D, "user_id": "u1", "events": 2, "weight": 1.0, "by_event": [("rating", 2)]},
    "gold.daily_activity": {
        "day": D, "events": 3, "users": 2, "new_users": 1, "items": 2, "weight": 2.0,
        "by_event": [("rating", 2), ("view", 1)],
    },
    "gold.retention": {
        "cohort_week": date(1998, 4, 20), "weeks_since": 0, "cohort_users": 2, "users": 2, "share": 1.0,
        "complete": False,
    },
    "gold.outcomes": {
        "day": D, "segment": "all", "lists_night": date(1998, 4, 20), "model_version": "1", "k": 10, "lists": 3,
        "active_users": 2, "users_hit": 1, "liked": 4, "hits": 1, "hits_stored": 2, "recall": 0.25, "precision": 0.05,
        "ndcg": 0.3,
    },
    "gold.coverage": {
        "k": 10, "lists": 3, "slots": 30, "available": 20, "items_first": 10, "items_stored": 15, "share_first": 0.5,
        "share_stored": 0.75, "gini": 0.4, "top_percent_share": 0.1, "mean_popularity_rank": 4.5,
    },
    "gold.quality_trend": {
        "rows_in": 10, "good": 8, "quarantined": 1, "set_aside": 1, "by_reason": [("type", 1)], "late": 2, "waiting": 1,
        "quarantined_others": 0, "checks_passed": 20, "checks_failed": 0, "checks_warned": 1,
    },
    "gold.popular": {"segment": "all", "items": ["i1", "i2"], "scores": [2.0, 1.0]},
    "gold.similar_items": {"item_id": "i1", "items": ["i2", "i3"], "scores": [2.0, 1.0], "model_version": "1"},
    "gold.recommendations": {
        "user_id": "u1", "items": ["i2", "i3"], "scores": [2.0, 1.0], "model_version": "1", "generated_at": NOON,
        "full_night": D,
    },
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    """The sample's nightloom.toml in a folder of its own."""
    shutil.copy(Path(__file__).parents[2] / "nightloom.toml", tmp_path)
    return settings_module.load(tmp_path / "nightloom.toml")


@pytest.fixture
def night(project: Settings) -> Night:
    return Night(date=D, settings=project, run_id="test", stage="test", arguments=Namespace(override=None))


@pytest.fixture
def put(night: Night) -> Callable[..., None]:
    """Append rows to a table; each is a dict of what differs from the default row of the night."""

    def append(table: T.Table, *rows: dict[str, Any]) -> None:
        night.lake.append(table, filled(table, rows))

    return append


@pytest.fixture
def slip(night: Night) -> Callable[..., None]:
    """As put, into a table without constraints, as somebody else's code or an older version may have made it."""

    def append(table: T.Table, *rows: dict[str, Any]) -> None:
        write_deltalake(night.lake.path(table), arrow(table, filled(table, rows)), mode="append")

    return append


def filled(table: T.Table, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    own = {"night": D} if "night" in table.column_names else {}
    return [own | DEFAULTS[table.full_name] | row for row in rows]


@pytest.fixture
def sound(put: Callable[..., None]) -> None:
    """A lake in which every expectation of gate 1 is met."""
    for table in (T.BRONZE_EVENTS, T.BRONZE_ITEMS, T.BRONZE_USERS, T.INTERACTIONS, T.ITEMS, T.USERS):
        put(table, {})


def ran(night: Night, *days: date) -> None:
    """Rows that a stage's frame would have left in ops.stages, a day each."""
    fixed = {
        "run_id": "r", "stage": "spark_jobs.bronze", "status": "ok", "seconds": 1.0, "started_at": NOON,
        "reads": [], "writes": [], "rows": [], "tags": [], "code": "c", "config": "d", "error": None,
    }  # fmt: skip
    night.lake.append(T.STAGES, [fixed | {"night": day} for day in days])
