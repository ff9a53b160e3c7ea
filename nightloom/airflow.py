"""[airflow], [[airflow.stages]], [[airflow.alerts]]: when DAGs start, how their tasks run, who is alerted.

No result depends on it. Not in nightloom/settings/, since each task of Airflow imports this file again, and the other
sections would take 0.1 s of each.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter  # type: ignore[import-untyped]
from pydantic import Field, field_validator, model_validator

from nightloom.section import Section, suggest_key

NOTIFIERS = ("smtp", "slack", "webhook")
"""Notifiers that are called by a short name and need no template."""
SECRETS = re.compile("password|token|secret|api_key|authorization", re.IGNORECASE)
SOME_YEAR = datetime(2026, 1, 1)
DAYS_OF_A_YEAR = 365
LONGEST_MINUTES = 7 * 24 * 60


class AirflowStage(Section):
    """What differs for one stage. A key that is left out has the value of [airflow], or the stage's own request."""

    name: str
    """The stage, e.g. `training.train` ([all stages](night.md))."""
    retries: int | None = Field(None, ge=0)
    """Tries after the first one."""
    retry_seconds: float | None = Field(None, ge=0)
    """Seconds before each further try."""
    time_limit_minutes: float | None = Field(None, gt=0, le=LONGEST_MINUTES)
    """Most minutes of a try."""
    pool: str | None = None
    """Airflow's pool."""
    queue: str | None = None
    """The executor's queue."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory to request, where the executor is Kubernetes; default the stage's budget in nightloom/night/stages.py."""
    cores: float | None = Field(None, gt=0)
    """Cores to request, where the executor is Kubernetes; default the stage's in nightloom/night/stages.py."""


class AirflowAlert(Section):
    """A notifier of Airflow, called when a gate closed, a task failed for good, or a night is late."""

    notifier: str
    """`smtp`, `slack` or `webhook`; or the class of another notifier, such as
    `airflow.providers.pagerduty.notifications.pagerduty.PagerdutyNotifier`, whose package the workers have."""
    on: tuple[Literal["closed", "failed", "deadline"], ...] = ("closed", "failed", "deadline")
    """Which alerts it gets: a closed gate, a task that failed its last try, a missed deadline."""
    arguments: dict[str, Any] = Field({})
    """The notifier's own arguments, e.g. to = "ops@example.org". Texts are templates that know `alert`. Addresses and
    secrets of a service stand in Airflow's connection, which an argument such as smtp_conn_id names."""

    @model_validator(mode="after")
    def _known_and_without_secrets(self) -> Self:
        if "." not in self.notifier and self.notifier not in NOTIFIERS:
            raise ValueError(
                f"notifier is '{self.notifier}'; expected {', '.join(NOTIFIERS)}, or a class with its module"
                f"{suggest_key(self.notifier, NOTIFIERS)}"
            )
        if found := next((name for name in self.arguments if SECRETS.search(name)), None):
            raise ValueError(f"arguments has '{found}'; secrets belong into an Airflow connection, not into this file")
        return self


class Airflow(Section):
    """When Airflow starts the DAGs, and how it runs their tasks."""

    nightly: str = "0 2 * * *"
    """When the night starts, as a cron expression `MINUTE HOUR * * *`. It works for the last day that is over, UTC."""
    retraining: str = "0 4 * * *"
    """When the retraining starts if no night has started it, as a cron expression."""
    maintenance: str = "0 6 * * 0"
    """When the maintenance starts, as a cron expression."""
    timezone: str = "UTC"
    """Time zone of these three, such as `Europe/Berlin`. Days stay days in UTC."""
    retries: int = Field(1, ge=0)
    """Tries of a failed task after the first one. A closed gate and wrong settings are never tried again."""
    retry_seconds: float = Field(15, ge=0)
    """Seconds before each further try."""
    time_limit_minutes: float = Field(120, gt=0, le=LONGEST_MINUTES)
    """Most minutes of a try; then the task is ended and counts as failed."""
    pool: str = "default_pool"
    """Airflow's pool of the tasks. It must exist there; `nightloom airflow` makes it in its own Airflow."""
    queue: str | None = None
    """Queue of the tasks, for executors that have queues; default the executor's own."""
    deadline_minutes: float | None = Field(None, gt=0)
    """Alert when a night has not succeeded so many minutes after it was queued; default never. The lists of a night are
    due so many minutes after its start; default 4 hours ([freshness](monitoring.md#freshness))."""
    stages: tuple[AirflowStage, ...] = ()
    """What differs for single stages."""
    alerts: tuple[AirflowAlert, ...] = ()
    """Notifiers, besides the line in the task's log and in AIRFLOW_HOME/alerts.jsonl."""

    @property
    def pools(self) -> set[str]:
        """Pools of all tasks."""
        return {self.pool, *(stage.pool for stage in self.stages if stage.pool)}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in (zones := available_timezones()):
            raise ValueError(f"found '{name}', expected a time zone such as 'Europe/Berlin'{suggest_key(name, zones)}")
        return name

    @field_validator("retraining", "maintenance")
    @classmethod
    def _cron(cls, text: str) -> str:
        if len(text.split()) != 5 or not croniter.is_valid(text):
            raise ValueError(f"found '{text}', expected a cron expression: MINUTE HOUR DAY MONTH WEEKDAY")
        return text

    @field_validator("nightly")
    @classmethod
    def _daily(cls, text: str) -> str:
        if not re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", text):
            raise ValueError(f"found '{text}', expected MINUTE HOUR * * *: a night is one day, so it starts once a day")
        return text

    @model_validator(mode="after")
    def _one_night_for_each_day(self) -> Self:
        """Where the clocks change, a start near midnight UTC would take one day twice and leave another out."""
        minute, hour = map(int, self.nightly.split()[:2])
        if not always_on_one_side_of_midnight(hour, minute, ZoneInfo(self.timezone)):
            raise ValueError(
                f"nightly is '{self.nightly}' in {self.timezone}, which is before midnight UTC in one part of the year "
                "and after it in the other: a day would have no night; choose a time some hours earlier or later"
            )
        return self


def always_on_one_side_of_midnight(hour: int, minute: int, zone: ZoneInfo) -> bool:
    """Whether a time of day in a zone has the same distance in days to its day in UTC throughout the year."""
    year = [SOME_YEAR + timedelta(days, hours=hour, minutes=minute) for days in range(DAYS_OF_A_YEAR)]
    return len({(local.replace(tzinfo=zone).astimezone(UTC).date() - local.date()).days for local in year}) == 1
