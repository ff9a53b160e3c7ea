"""What every command prints with: the console, and values as text."""

import sys
from datetime import date, time
from typing import Any

from rich.console import Console


def screen() -> Console:
    """The console; where output is no terminal, lines are as long as they need to be."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def iso(value: Any) -> str:
    """A value as text; moments in ISO form."""
    return value.isoformat() if isinstance(value, date | time) else str(value)
