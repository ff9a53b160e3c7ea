"""What others have to know of a model, stated in the model's own file: `MODEL = Definition(...)`."""

from dataclasses import dataclass

from models.base import Model, Params


@dataclass(frozen=True)
class Definition:
    """One model. The docstring of its class and of its parameters is its documentation: docs/models.md shows both."""

    model: type[Model]
    params: type[Params]
    uses_history: bool = True
    """Whether the likes of a user move their list."""
    user_attributes: bool = False
    """Whether it takes the attributes of users, such as `city=Ulm`."""
    item_attributes: bool = False
    """Whether it takes the categories and attributes of items; such a model knows items that nobody liked yet."""
    distributed: bool = False
    """Whether it trains on many ranks (docs/ranks.md)."""
    requirements: tuple[str, ...] = ()
    """pip packages that loading needs, besides numpy, scipy and pydantic."""
