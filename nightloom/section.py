"""The base of every section of nightloom.toml, and what its error messages need."""

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

MOST_DAYS = 36_500
"""The longest span that a setting may give: dates so long ago still exist."""


class Section(BaseModel):
    """Part of the file: an unknown key is an error, and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def join_names(names: Iterable[str]) -> str:
    """Names in alphabetical order, with commas between."""
    return ", ".join(sorted(names))


def suggest_key(name: str, known: Iterable[str]) -> str:
    """`. Did you mean 'k'?` for the nearest known key, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean '{match[0]}'?" if match else ""
