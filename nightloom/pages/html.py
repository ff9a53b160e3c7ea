"""Template + values -> HTML. Values are escaped; an undefined one is an error.

Signs that turn the direction of a text are written as \\u202e and the like: a name cannot make a line read backwards.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

SHARED = Path(__file__).parent / "templates"
TURNING = {
    number: f"\\u{number:04x}" for number in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Unicode's signs for the direction of a text -> how a page shows them."""


def render(template: Path, **values: Any) -> str:
    """A page. The template may include and extend those of its folder and the shared ones."""
    return _environment(template.parent).get_template(template.name).render(now=datetime.now(UTC), **values)


@cache
def _environment(folder: Path) -> Environment:
    made = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=show_turning_signs,
    )
    made.filters |= {
        "day": day, "moment": moment, "ago": ago, "duration": duration, "thousands": thousands, "cell": cell,
        "unchanged": escape,
    }  # fmt: skip
    return made


def show_turning_signs(value: Any) -> Any:
    """What a template prints -> the same, with the signs of TURNING made visible; markup has been through this.

    The filter `unchanged` makes markup of a text as it is, for the field of a form that sends it back.
    """
    return value.translate(TURNING) if isinstance(value, str) and not isinstance(value, Markup) else value


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
    seconds = max(0, int((datetime.now(UTC) - found).total_seconds()))
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


def cell(value: Any) -> str:
    """A value as a table shows it: yes, 0.1234, - for what is not a number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ("-" if math.isnan(value) else f"{value:.4g}") if isinstance(value, float) else str(value)
