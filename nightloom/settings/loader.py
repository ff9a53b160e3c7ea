"""nightloom.toml and NIGHTLOOM_* variables -> Settings, or an error that names the line and the nearest key."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from nightloom.errors import SettingsError
from nightloom.section import Section, join_names, suggest_key
from nightloom.settings.locations import find_line, place_of
from nightloom.settings.settings import Settings
from nightloom.slate.settings import find_misnamed

CONFIG_VARIABLE = "NIGHTLOOM_CONFIG"


def config_file() -> Path:
    """The nightloom.toml in force: $NIGHTLOOM_CONFIG, else the one in the working folder; absolute."""
    return Path(os.environ.get(CONFIG_VARIABLE) or "nightloom.toml").absolute()


def load(file: Path | None = None) -> Settings:
    """Read `file` (default: config_file()). Raises SettingsError with the line and what to do."""
    file = (file or config_file()).absolute()
    if not file.is_file():
        raise SettingsError(
            f"{file} is not there; run in a project's folder or set {CONFIG_VARIABLE} to its nightloom.toml"
        )
    try:
        settings = Settings(file=file)  # the rest comes out of the file
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file.name} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise SettingsError("\n".join(_explained(item, file) for item in error.errors())) from None
    if wrong := list(find_misnamed(settings.slate, settings.attributes("items"), settings.attributes("users"))):
        raise SettingsError("\n".join(f"{place_of(settings, *where)}: {words}" for where, words in wrong))
    return settings


def _explained(item: Any, file: Path) -> str:
    """One pydantic error as `nightloom.toml, line N: what, and the nearest known key`."""
    location = item["loc"]
    where = ".".join(str(part) for part in location)
    line = find_line(location, file.read_text(encoding="utf8"))
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = _keys_beside(location)
        message = f"unknown key; known here are {join_names(known)}{suggest_key(str(location[-1]), known)}"
    return f"{file.name}{f', line {line}' if line else ''}: {where}: {message}" if where else f"{file.name}: {message}"


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
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
