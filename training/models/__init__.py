"""The models, by the name they have in nightloom.toml. Each imports what it needs only when it is asked for."""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from training.models.base import Model


@dataclass(frozen=True)
class Kind:
    """Where a model's class is, and whether it trains on many ranks and takes what is said of items and users."""

    module: str
    attribute: str
    distributed: bool = False
    features: bool = False

    def type(self) -> type[Model]:
        found: type[Model] = getattr(import_module(self.module), self.attribute)
        return found


KINDS = {
    "popularity": Kind("training.models.popularity", "Popularity"),
    "als": Kind("training.models.als", "ALS"),
    "ease": Kind("training.models.ease", "EASE"),
    "graph": Kind("training.models.graph", "Graph"),
    "item_to_item": Kind("training.models.item_to_item", "ItemToItem"),
    "blend": Kind("training.models.blend", "Blend"),
    "sequence": Kind("training.models.sequence", "Sequence", distributed=True),
    "two_tower": Kind("training.models.two_tower", "TwoTower", distributed=True, features=True),
}


def load(folder: Path) -> Model:
    """Read a model that some model's save() wrote."""
    return KINDS[json.loads((folder / "model.json").read_text())["name"]].type().load(folder)
