"""A small project for the tests of training: settings, rows with known structure, and the night of a stage."""

from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from nightloom.night.context import Night
from nightloom.settings import Settings

Row = dict[str, Any]
MakeProject = Callable[..., Settings]
Track = Callable[[Settings], Settings]

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
refit = false
"""


def event(user: str, item: str, days_before: float, weight: float = 1.0) -> Row:
    """One row of silver.interactions, `days_before` days before the end of DAY."""
    at = DAY + timedelta(days=1 - days_before)
    key = f"{user}-{item}-{at.isoformat()}"
    return {
        "event_id": key, "user_id": user, "item_id": item, "event": "like", "value": None, "weight": weight,
        "occurred_at": at, "rescued": None, "row_id": key, "night": DAY.date(),
    }  # fmt: skip


LAST = DAY.date()


def night_of(settings: Settings, day: date = LAST, **arguments: Any) -> Night:
    """The Night that a stage gets."""
    return Night(date=day, settings=settings, run_id="test", stage="test", arguments=Namespace(**arguments))
