"""A project in a temporary folder, and rows with defaults, so that a test shows only what matters."""

import shutil
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nightloom import settings as settings_module
from nightloom import tables as T
from nightloom.manifest import Night
from nightloom.settings import Settings

D = date(1998, 4, 21)
NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
BRONZE = {
    "row_id": sha256(b"1").hexdigest(),
    "raw": "{}",
    "file": "f.json",
    "file_modified_at": NOON,
    "ingested_at": NOON,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "bronze.events": BRONZE | {"source": "ratings"},
    "bronze.items": BRONZE | {"source": "catalogue"},
    "bronze.users": BRONZE | {"source": "members"},
    "quarantine.rows": {
        "row_id": "q1", "kind": "events", "source": "ratings", "reason": "type", "detail": "value is 'x', not double",
        "raw": "{}", "file": "f.json",
    },
    "silver.interactions": {
        "event_id": "e1", "user_id": "u1", "item_id": "i1", "event": "rating", "value": 4.0, "weight": 1.0,
        "occurred_at": NOON, "rescued": None, "row_id": "r1",
    },
    "silver.items": {
        "item_id": "i1", "title": "One", "categories": ["a"], "attributes": [("year", "1990")], "available": True,
        "updated_at": NOON, "row_id": "r1",
    },
    "silver.users": {"user_id": "u1", "attributes": [], "updated_at": NOON, "row_id": "r1"},
    "gold.histories": {"user_id": "u1", "items": ["i1"], "weights": [1.0], "at": [NOON], "event_ids": ["e1"]},
    "gold.item_stats": {
        "item_id": "i1", "events_1d": 1, "events_7d": 2, "events_28d": 3, "events": 4, "users": 2, "popularity": 1.5,
        "first_at": NOON, "last_at": NOON,
    },
    "gold.popular": {"segment": "all", "items": ["i1", "i2"], "scores": [2.0, 1.0]},
    "gold.recommendations": {
        "user_id": "u1", "items": ["i2", "i3"], "scores": [2.0, 1.0], "model_version": "1", "generated_at": NOON,
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
        night.lake.append(table, [{"night": D} | DEFAULTS[table.full_name] | row for row in rows])

    return append


@pytest.fixture
def sound(put: Callable[..., None]) -> None:
    """A lake in which every expectation of gate 1 is met."""
    for table in (T.BRONZE_EVENTS, T.BRONZE_ITEMS, T.BRONZE_USERS, T.INTERACTIONS, T.ITEMS, T.USERS):
        put(table, {})
