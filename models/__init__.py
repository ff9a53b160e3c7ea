"""The models, by the name they have in nightloom.toml. Each imports what it needs only when it is asked for."""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from models.base import Model


@dataclass(frozen=True)
class Kind:
    """Where a model's class is; whether it trains on many ranks, and takes what is said of items and of users."""

    module: str
    attribute: str
    distributed: bool = False
    item_words: bool = False
    user_words: bool = False

    def type(self) -> type[Model]:
        found: type[Model] = getattr(import_module(self.module), self.attribute)
        return found


KINDS = {
    "popularity": Kind("models.popularity", "Popularity"),
    "segments": Kind("models.segments", "Segments", user_words=True),
    "als": Kind("models.als", "ALS"),
    "ease": Kind("models.ease", "EASE"),
    "graph": Kind("models.graph", "Graph"),
    "item_to_item": Kind("models.item_to_item", "ItemToItem"),
    "blend": Kind("models.blend", "Blend", user_words=True),
    "sequence": Kind("models.sequence", "Sequence", distributed=True),
    "two_tower": Kind("models.two_tower", "TwoTower", distributed=True, item_words=True, user_words=True),
}


def load(folder: Path) -> Model:
    """Read a model that some model's save() wrote."""
    return KINDS[json.loads((folder / "model.json").read_text())["name"]].type().load(folder)
