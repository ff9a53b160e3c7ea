"""[[models]] of nightloom.toml -> the models to train, with names and hyper-parameters checked before any training."""

from pydantic import ValidationError

import models
from models.definition import Definition
from nightloom.errors import SettingsError
from nightloom.section import join_names, suggest_key
from nightloom.settings import ModelSpec, Settings, place_of


def models_to_train(settings: Settings, name: str | None) -> list[ModelSpec]:
    """All of them, or the one called `name`. Raises SettingsError with line and nearest name for what nobody knows."""
    for number, spec in enumerate(settings.models):
        try:
            definition = models.definition(spec.name)
        except models.UnknownModelError as error:
            raise SettingsError(f"{place_of(settings, 'models', number, 'name')}: {error}") from None
        _check_params(settings, number, definition)
    found = [spec for spec in settings.models if name in (None, spec.name)]
    if not found:
        declared = [spec.name for spec in settings.models]
        nearest = suggest_key(str(name), declared)
        raise SettingsError(f"--model {name}: nightloom.toml declares {join_names(declared)}{nearest}")
    return found


def _check_params(settings: Settings, number: int, definition: Definition) -> None:
    """The hyper-parameters of one model as they are declared, then with the ends of what is searched."""
    spec = settings.models[number]
    lowest, highest = ({name: getattr(found, end) for name, found in spec.search.items()} for end in ("low", "high"))
    for key, searched in (("params", {}), ("search", lowest), ("search", highest)):
        try:
            definition.params(**spec.params | searched)
        except ValidationError as error:
            name, problem = definition.problem(error)
            where = [name] if name in spec.params | searched else []
            raise SettingsError(f"{place_of(settings, 'models', number, key, *where)}: {problem}") from None
