"""[[models]] of nightloom.toml against the models' own files: names and hyper-parameters.

nightloom/settings/loader.py calls find_problems() when settings are loaded. No model's file imports torch.
"""

from collections.abc import Iterator

from pydantic import ValidationError

import models
from models.definition import Definition
from nightloom.errors import SettingsError
from nightloom.section import join_names, suggest_key
from nightloom.settings import ModelSpec, Settings

Location = tuple[str | int, ...]


def find_problems(settings: Settings) -> Iterator[tuple[Location, str]]:
    """(place in the file, words) of each model that nobody knows, and of the first wrong hyper-parameter of others."""
    for number, spec in enumerate(settings.models):
        try:
            definition = models.definition(spec.name)
        except models.UnknownModelError as error:
            yield ("models", number, "name"), str(error)
        else:
            yield from _wrong_params(number, spec, definition)


def models_to_train(settings: Settings, name: str | None) -> list[ModelSpec]:
    """All of them, or the one called `name`. Raises SettingsError with the nearest name where none is called so."""
    found = [spec for spec in settings.models if name in (None, spec.name)]
    if not found:
        declared = [spec.name for spec in settings.models]
        nearest = suggest_key(str(name), declared)
        raise SettingsError(f"--model {name}: nightloom.toml declares {join_names(declared)}{nearest}")
    return found


def _wrong_params(number: int, spec: ModelSpec, definition: Definition) -> Iterator[tuple[Location, str]]:
    """The hyper-parameters of one model as they are declared, then with the ends of what is searched."""
    lowest, highest = ({name: getattr(found, end) for name, found in spec.search.items()} for end in ("low", "high"))
    for key, searched in (("params", {}), ("search", lowest), ("search", highest)):
        try:
            definition.params(**spec.params | searched)
        except ValidationError as error:
            name, problem = definition.problem(error)
            where = [name] if name in spec.params | searched else []
            yield ("models", number, key, *where), problem
            return
