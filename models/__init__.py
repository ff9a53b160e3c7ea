"""What scores: one model, one file. A file models/NAME.py that sets MODEL (a Definition) is the model NAME.

Asking for one model imports its file alone. torch, numba and MLflow are imported by the functions that need them.
"""

import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path

from models.base import Model
from models.definition import Definition
from nightloom.errors import NightloomError
from nightloom.section import join_names, suggest_key

FOLDER = Path(__file__).parent


class UnknownModelError(NightloomError):
    """There is no model of that name."""


@cache
def names() -> tuple[str, ...]:
    """The models there are, sorted; found in the files' text, so that none is imported."""
    texts = {file.stem: file.read_text(encoding="utf8") for file in FOLDER.glob("*.py")}
    return tuple(sorted(name for name, text in texts.items() if re.search(r"^MODEL\b", text, re.MULTILINE)))


def definition(name: str) -> Definition:
    """What models/NAME.py says of itself. Raises UnknownModelError."""
    if name not in names():
        raise UnknownModelError(
            f"no model is called '{name}'; there are {join_names(names())}{suggest_key(name, names())}"
        )
    found: Definition = import_module(f"models.{name}").MODEL
    return found


def load(folder: Path) -> Model:
    """Read a model that some model's save() wrote."""
    return definition(name_in(folder)).model.load(folder)


def requirements(folder: Path) -> list[str]:
    """pip packages that load() needs for the model saved in `folder`, those of its members included."""
    saved = [definition(name_in(file.parent)) for file in folder.rglob("model.json")]
    return sorted({"numpy", "scipy", "pydantic"}.union(*(each.requirements for each in saved)))


def name_in(folder: Path) -> str:
    """The name of the model saved in `folder`."""
    return str(json.loads((folder / "model.json").read_text())["name"])
