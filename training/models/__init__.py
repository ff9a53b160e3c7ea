"""The models, by the name they have in nightloom.toml. Each imports what it needs only when it is asked for."""

import json
from importlib import import_module
from pathlib import Path

from training.models.base import Model

KINDS = {
    "popularity": ("training.models.popularity", "Popularity"),
    "als": ("training.models.als", "ALS"),
    "sequence": ("training.models.sequence", "Sequence"),
}
"""Name -> module and class."""


def kind(name: str) -> type[Model]:
    """The class of a model. Raises KeyError for a name that is not in KINDS."""
    module, attribute = KINDS[name]
    found: type[Model] = getattr(import_module(module), attribute)
    return found


def load(folder: Path) -> Model:
    """Read a model that some model's save() wrote."""
    return kind(json.loads((folder / "model.json").read_text())["name"]).load(folder)
