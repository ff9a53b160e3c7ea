"""nightloom.toml -> what the DAG files need of it, without the other sections and the addresses in them."""

from __future__ import annotations

import os
import tomllib
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from nightloom.airflow import Airflow
from nightloom.night.tasks import find_problems

LOADER = "nightloom.settings.loader"
"""The module that words mistakes in the file: imported when there is one."""


class Project(BaseModel):
    """The part of [project] that alerts give."""

    name: str


class DagSettings(BaseSettings):
    """[project] and [airflow]; the rest of the file is not looked at."""

    model_config = SettingsConfigDict(env_prefix="NIGHTLOOM_", env_nested_delimiter="__", extra="ignore", frozen=True)

    project: Project
    airflow: Airflow = Airflow()

    file: Path = Field(exclude=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = init_settings.init_kwargs["file"]  # type: ignore[attr-defined]  # load_dag_settings() passes it
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        return init_settings, env_settings, InitSettingsSource(settings_cls, content)


def load_dag_settings() -> DagSettings:
    """Read $NIGHTLOOM_CONFIG, else nightloom.toml of the working folder.

    Raises SettingsError for mistakes in this part of the file, as nightloom.settings.load does. Airflow's page shows it
    as an error of the DAG file.
    """
    file = Path(os.environ.get("NIGHTLOOM_CONFIG") or "nightloom.toml").absolute()
    try:
        settings = DagSettings(file=file)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not TOML, or pydantic's
        raise import_module(LOADER).dag_settings_error(error, file) from None
    if problems := list(find_problems(settings.airflow)):
        raise import_module(LOADER).problems_error(problems, file)
    return settings
