"""A small project in a scratch folder: a real lake, a real MLflow on SQLite, rows with a known structure."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightloom import settings as settings_module
from nightloom.manifest import Night
from nightloom.settings import Settings
from nightloom.tables import INTERACTIONS

DAY = datetime(2026, 3, 1, tzinfo=UTC)
"""The last day of the test projects."""

TOML = """
[project]
name = "small"

[[sources]]
name = "events"
kind = "events"
path = "landing"
format = "json"
fields = { user = "string", item = "string", at = "timestamp" }
columns = { user_id = "user", item_id = "item", event = "'like'", occurred_at = "at" }

[[signals]]
event = "like"

[training]
holdout_days = 2
"""


def event(user: str, item: str, days_before: float, weight: float = 1.0) -> dict[str, Any]:
    """One row of silver.interactions, so many days before the end of DAY."""
    at = DAY + timedelta(days=1 - days_before)
    key = f"{user}-{item}-{at.isoformat()}"
    return {
        "event_id": key, "user_id": user, "item_id": item, "event": "like", "value": None, "weight": weight,
        "occurred_at": at, "rescued": None, "row_id": key, "night": DAY.date(),
    }  # fmt: skip


Project = Callable[..., Settings]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Makes a project of models and rows: project(["als"], rows) -> its settings."""

    def make(models: Sequence[str], rows: Sequence[dict[str, Any]], more: str = "") -> Settings:
        file = tmp_path / "nightloom.toml"
        sections = [name if "\n" in name else f'[[models]]\nname = "{name}"' for name in models]
        file.write_text("\n".join([TOML, *sections, more]))
        made = settings_module.load(file)
        night_of(made).lake.append(INTERACTIONS, rows)
        return made

    return make


def night_of(settings: Settings, day: date = DAY.date(), **arguments: Any) -> Night:
    """The night object that a stage would get."""
    from argparse import Namespace

    return Night(date=day, settings=settings, run_id="test", stage="test", arguments=Namespace(**arguments))
