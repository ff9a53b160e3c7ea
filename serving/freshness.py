"""How fresh the served lists are, against the night that should be served by now: the console and /metrics ask here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from nightloom.airflow import Airflow
from nightloom.night.days import last_complete_day

GRACE = timedelta(hours=4)
"""How long a night may take where airflow.deadline_minutes is not set."""


@dataclass(frozen=True)
class Freshness:
    """The served night and the target."""

    target: date
    """The newest night whose lists are due."""
    due_at: datetime
    """When they were due."""
    night: date | None
    """The night that is served; None where nothing is."""

    @property
    def nights_late(self) -> int | None:
        """0: on time; None: nothing is served."""
        return None if self.night is None else max(0, (self.target - self.night).days)


def freshness(airflow: Airflow, meta: dict[str, Any] | None, moment: datetime) -> Freshness:
    """Compare the served version's record with the night that was due at a moment (UTC)."""
    grace = GRACE if airflow.deadline_minutes is None else timedelta(minutes=airflow.deadline_minutes)
    start = _last_start(airflow, moment - grace)
    night = date.fromisoformat(meta["night"]) if meta else None
    return Freshness(last_complete_day(start), start + grace, night)


def _last_start(airflow: Airflow, moment: datetime) -> datetime:
    """The last start of the DAG `nightly` up to a moment, by airflow.nightly, UTC."""
    minute, hour = map(int, airflow.nightly.split()[:2])
    local = moment.astimezone(ZoneInfo(airflow.timezone))
    start = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (start if start <= local else start - timedelta(days=1)).astimezone(UTC)
