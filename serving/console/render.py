"""Template + values -> HTML. One environment for the console and the nightly report, so that both look alike."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from nightloom.lake import now
from nightloom.night import stages


def render(template: str, **values: Any) -> str:
    """A page. Values are escaped; an undefined one is an error."""
    return ENVIRONMENT.get_template(template).render(now=now(), **values)


def day(value: date | str) -> str:
    """21 April 1998."""
    found = date.fromisoformat(value) if isinstance(value, str) else value
    return f"{found.day} {found:%B %Y}"


def moment(value: datetime | str) -> str:
    """2026-11-25 00:04 UTC."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(value: datetime | str) -> str:
    """How long ago, in the largest unit that fits: 3 hours ago."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    seconds = max(0, int((now() - found).total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if (count := seconds // length) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 2 min 05 s."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def thousands(value: int) -> str:
    """1,682."""
    return f"{value:,}"


ENVIRONMENT = Environment(
    loader=PackageLoader("serving.console"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals["gates_in_order"] = [stage.gate for stage in stages.GATES]
ENVIRONMENT.filters |= {"day": day, "moment": moment, "ago": ago, "duration": duration, "thousands": thousands}
