"""nightloom.toml and NIGHTLOOM_* variables -> Settings, or an error that names the line and the nearest key."""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pydantic_settings
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from nightloom.errors import SettingsError, printable
from nightloom.section import Section, join_names, suggest_key
from nightloom.settings import checks
from nightloom.settings.locations import find_line, place_in
from nightloom.settings.settings import Settings
from nightloom.settings.toml_file import read_text, read_toml
from nightloom.slate.conditions import find_wrong_conditions
from nightloom.slate.settings import find_misnamed

CONFIG_VARIABLE = "NIGHTLOOM_CONFIG"
CHECKED_VARIABLE = "NIGHTLOOM_CHECKED"
"""Digest of the settings that `nightloom night` has checked already: its stages save half a second each."""
MODELS, TASKS = "models.declared", "nightloom.night.tasks"
"""The modules that check [[models]] against the models' files, and [airflow] against the stages: texts, as in
nightloom/cli.py."""


def config_file() -> Path:
    """The nightloom.toml in force: $NIGHTLOOM_CONFIG, else the one in the working folder; absolute."""
    return Path(os.environ.get(CONFIG_VARIABLE) or "nightloom.toml").absolute()


def load(file: Path | None = None, reach: bool = True) -> Settings:
    """Read `file` (default: config_file()). Raises SettingsError with the line and what to do, a line per mistake.

    `reach`: ask for each place in object storage, too. A server that has an answer without them leaves that out.
    """
    file = (file or config_file()).absolute()
    _require(file)
    if wrong := list(_unknown_variables(os.environ)):
        raise SettingsError("\n".join(wrong))
    try:
        settings = Settings(file=file)  # the rest comes out of the file
    except ValidationError as error:
        raise _validation_error(error, file) from None
    except pydantic_settings.SettingsError as error:
        raise SettingsError(f"an environment variable NIGHTLOOM_...: {error}; expected JSON") from None
    if problems := list(_problems(settings)) or (list(checks.find_unreachable(settings)) if reach else []):
        raise problems_error(problems, file)
    return settings


def dag_settings_error(error: OSError | ValueError, file: Path) -> SettingsError:
    """What to say when nightloom/night/dag_settings.py could not read its part of a file; may raise it itself."""
    _require(file)
    read_toml(file)
    return _validation_error(error, file) if isinstance(error, ValidationError) else SettingsError(f"{file}: {error}")


def problems_error(problems: Iterable[checks.Problem], file: Path) -> SettingsError:
    """Mistakes between keys that are valid one by one, a line each."""
    return SettingsError("\n".join(printable(f"{place_in(file, *where)}: {words}") for where, words in problems))


def _validation_error(error: ValidationError, file: Path) -> SettingsError:
    return SettingsError("\n".join(printable(_explained(item, file)) for item in error.errors()))


def _require(file: Path) -> None:
    if not file.is_file():
        raise SettingsError(
            f"{file} is not there; run in a project's folder or set {CONFIG_VARIABLE} to its nightloom.toml"
        )


def _problems(settings: Settings) -> Iterator[checks.Problem]:
    """What is wrong between keys that are valid one by one."""
    yield from checks.find_problems_of_places(settings)
    if os.environ.get(CHECKED_VARIABLE) == settings.digest:
        return
    yield from import_module(TASKS).find_problems(settings.airflow)
    yield from checks.find_problems(settings)
    yield from find_misnamed(settings.slate, settings.attributes("items"), settings.attributes("users"))
    yield from find_wrong_conditions(settings.slate, settings.attributes("items"))
    yield from import_module(MODELS).find_problems(settings)


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables that are meant for a section that there is not; those of a section are checked with its keys."""
    known = Settings.model_fields.keys() - {"file"}
    for name in sorted(environment):
        section = name.removeprefix("NIGHTLOOM_").partition("__")[0].lower()
        if name.startswith("NIGHTLOOM_") and "__" in name and section not in known:
            yield f"variable {name}: no section is called '{section}'{suggest_key(section, known)}"


def _explained(item: Any, file: Path) -> str:
    """One pydantic error as `nightloom.toml, line N: what, and the nearest known key`."""
    location = item["loc"]
    where = ".".join(str(part) for part in location)
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = _sibling_keys(location)
        message = f"unknown key; known here are {join_names(known)}{suggest_key(str(location[-1]), known)}"
    if item["type"] == "literal_error":
        message += f", found '{item['input']}'{suggest_key(str(item['input']), _options(item['ctx']['expected']))}"
    return f"{_source(location, file)}: {where}: {message}" if where else f"{file.name}: {message}"


def _source(location: tuple[str | int, ...], file: Path) -> str:
    """Where a key was given: a variable, else the line of the file."""
    variable = "NIGHTLOOM_" + "__".join(map(str, location)).upper()
    if variable in {name.upper() for name in os.environ}:
        return f"variable {variable}"
    line = find_line(location, read_text(file))
    return f"{file.name}, line {line}" if line else file.name


def _options(expected: str) -> list[str]:
    """The values in a text such as `'json', 'csv' or 'kafka'`."""
    return expected.split("'")[1::2]


def _sibling_keys(location: tuple[str | int, ...]) -> list[str]:
    """Known keys of the section that `location` points into."""
    fields: dict[str, FieldInfo] = Settings.model_fields
    for part in location[:-1]:
        if isinstance(part, str) and part in fields:
            fields = _section(fields[part].annotation).model_fields
    return sorted(fields.keys() - {"file"})


def _section(annotation: Any) -> type[BaseModel]:
    """The Section class in an annotation such as `Places`, `tuple[Source, ...]` or `dict[str, MartColumn]`."""
    inner = getattr(annotation, "__args__", (annotation,))
    return next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), Section)
