"""The base of every section of nightloom.toml, and what its error messages need."""

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Part of the file: an unknown key is an error, and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def listed(names: Any) -> str:
    """Names as one says them, sorted."""
    return ", ".join(sorted(names))


def nearest_key(name: str, known: Any) -> str:
    """`. Did you mean 'k'?`, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean '{match[0]}'?" if match else ""
