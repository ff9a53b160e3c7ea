"""What every command prints with: the console, and values as text."""

import sys
from datetime import date, time
from typing import Any

from rich.console import Console


def screen() -> Console:
    """The console; where output is no terminal, lines are as long as they need to be.

    It takes nothing in a text for markup: a title may be `[bold]`. What has a style is a rich Text.
    """
    width = None if sys.stdout.isatty() else 10_000
    return Console(highlight=False, markup=False, emoji=False, width=width)


def iso(value: Any) -> str:
    """A value as text; moments in ISO form."""
    return value.isoformat() if isinstance(value, date | time) else str(value)
