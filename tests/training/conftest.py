"""Fixtures: small projects in temporary folders, with a real lake and a real MLflow on SQLite."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from models import registry
from nightloom import settings as settings_module
from nightloom.contracts import INTERACTIONS
from nightloom.places import folder_of
from nightloom.settings import Settings
from tests.training.small_project import TOML, MakeProject, Row, Track, night_of


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: creating one takes seconds, copying it takes none."""
    home = tmp_path_factory.mktemp("mlflow")
    file = home / "nightloom.toml"
    file.write_text(TOML + '[[models]]\nname = "popularity"')
    settings = settings_module.load(file)
    registry.client(settings).search_experiments()
    return folder_of(settings.place("home")) / "mlflow.db"


@pytest.fixture
def tracked(mlflow_database: Path) -> Track:
    """A function that gives a project an empty MLflow database."""

    def give(settings: Settings) -> Settings:
        home = folder_of(settings.place("home"))
        home.mkdir(exist_ok=True)
        shutil.copy(mlflow_database, home / "mlflow.db")
        return settings

    return give


@pytest.fixture
def project(tmp_path: Path) -> MakeProject:
    """A function that makes a project of models and rows: project(["als"], rows) -> its settings."""

    def make(
        models: Sequence[str], rows: Sequence[Row], more: str = "", replace: Mapping[str, str] = MappingProxyType({})
    ) -> Settings:
        file = tmp_path / "nightloom.toml"
        sections = [name if "\n" in name else f'[[models]]\nname = "{name}"' for name in models]
        head = TOML
        for line, other in replace.items():
            assert line in head
            head = head.replace(line, other)
        file.write_text("\n".join([head, *sections, more]))
        settings = settings_module.load(file)
        night_of(settings).lake.append(INTERACTIONS, rows)
        return settings

    return make
