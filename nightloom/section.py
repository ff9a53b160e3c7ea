"""What a part of nightloom.toml is, for settings.py and slate_settings.py."""

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Part of the file: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def listed(names: Any) -> str:
    """Names as one says them, sorted."""
    return ", ".join(sorted(names))


def nearest_key(name: str, known: Any) -> str:
    """`. Did you mean 'k'?`, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean '{match[0]}'?" if match else ""
