"""What others have to know of a model, stated in the model's own file: `MODEL = Definition(...)`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from models.base import RENAMED, Model, Params
from nightloom.section import join_names, suggest_key


@dataclass(frozen=True)
class Definition:
    """One model. The docstring of its class and of its parameters is its documentation: docs/models.md shows both."""

    model: type[Model]
    params: type[Params]
    uses_history: bool = True
    """Whether the likes of a user move their list."""
    user_features: bool = False
    """Whether it takes the attributes of users, such as `city=Ulm`."""
    item_features: bool = False
    """Whether it takes the categories and attributes of items; such a model knows items that nobody liked yet."""
    distributed: bool = False
    """Whether it trains on many ranks (docs/ranks.md)."""
    requirements: tuple[str, ...] = ()
    """pip packages that loading needs, besides numpy, scipy and pydantic."""
    example_params: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters for data as small as the conformance suite's, where the defaults are too large."""

    def problem(self, error: ValidationError) -> tuple[str, str]:
        """The first wrong hyper-parameter, and what is wrong with it."""
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known, renamed = self.params.model_fields, RENAMED.get(name)
            nearest = f". Its name is now '{renamed}'" if renamed in known else suggest_key(name, known)
            return name, f"unknown hyper-parameter; {self.model.name} has {join_names(known)}{nearest}"
        return name, first["msg"].removeprefix("Value error, ")
