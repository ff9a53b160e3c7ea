"""All of nightloom.toml as one object, and what concerns several of its sections."""

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self, overload
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from nightloom.airflow import Airflow
from nightloom.places import Place, place_at, scheme_of
from nightloom.section import join_names
from nightloom.settings.aliases import AliasFile
from nightloom.settings.gates import Gates
from nightloom.settings.interactions import Interactions
from nightloom.settings.late import Late
from nightloom.settings.marts import Mart
from nightloom.settings.models import ModelSpec
from nightloom.settings.places import Places
from nightloom.settings.project import Project
from nightloom.settings.retention import Retention
from nightloom.settings.serving import Serving
from nightloom.settings.signals import Signal
from nightloom.settings.sources import Source
from nightloom.settings.spark import Spark
from nightloom.settings.store import Store
from nightloom.settings.toml_file import read_toml
from nightloom.settings.training import Training
from nightloom.slate.settings import Slate

SQLITE = "sqlite:///"


class Settings(BaseSettings):
    """All of nightloom.toml."""

    model_config = SettingsConfigDict(
        env_prefix="NIGHTLOOM_", env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    project: Project
    places: Places = Places()
    spark: Spark = Spark()
    sources: tuple[Source, ...]
    aliases: tuple[AliasFile, ...] = ()
    signals: tuple[Signal, ...]
    models: tuple[ModelSpec, ...]
    training: Training = Training()
    gates: Gates = Gates()
    slate: Slate = Slate()
    store: Store = Store()
    serving: Serving = Serving()
    retention: Retention = Retention()
    late: Late = Late()
    interactions: Interactions = Interactions()
    marts: tuple[Mart, ...] = ()
    airflow: Airflow = Airflow()

    file: Path = Field(default=Path("nightloom.toml"), exclude=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = init_settings.init_kwargs["file"]  # type: ignore[attr-defined]  # the one keyword that load() passes
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_toml(file))

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("sources", [source.name for source in self.sources]),
            ("signals", [signal.event for signal in self.signals]),
            ("models", [model.name for model in self.models]),
            ("marts", [mart.name for mart in self.marts]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} has {join_names(twice)} more than once; names are unique")
        return self

    @model_validator(mode="after")
    def _ranks_in_a_cluster(self) -> Self:
        if self.training.launcher == "spark" and re.match(r"warm$|sc://", self.places.spark):
            raise ValueError(
                f"training.launcher is 'spark' and places.spark is '{self.places.spark}'; ranks need the cluster's "
                "master, such as spark://HOST:7077"
            )
        return self

    @model_validator(mode="after")
    def _store_and_its_place(self) -> Self:
        if not self.store.embedded and self.places.store_url is None:
            raise ValueError(
                f"store.kind is '{self.store.kind}', a server: NIGHTLOOM_PLACES__STORE_URL says where (or, without a "
                "password, places.store_url)"
            )
        if self.store.embedded and self.places.store_url is not None:
            raise ValueError(f"store.kind is '{self.store.kind}', a folder: places.store says where, not store_url")
        written = read_toml(self.file).get("places", {}).get("store_url", "")
        if urlsplit(written).password:
            raise ValueError("places.store_url holds a password; set NIGHTLOOM_PLACES__STORE_URL and take it out here")
        return self

    @property
    def root(self) -> Path:
        """Folder of nightloom.toml, absolute."""
        return self.file.parent

    @overload
    def place(self, name: Literal["scratch", "airflow"]) -> Path: ...

    @overload
    def place(self, name: Literal["home", "lake", "store", "docs", "mlflow_artifacts", "access"]) -> Place: ...

    def place(
        self, name: Literal["scratch", "airflow", "home", "lake", "store", "docs", "mlflow_artifacts", "access"]
    ) -> Place:
        """A place, its default under home when the file does not name it; a folder's path is absolute."""
        default = {"docs": "data-docs", "mlflow_artifacts": "mlflow", "scratch": ""}.get(name, name)
        if (given := getattr(self.places, name)) is not None:
            return place_at(given, self.root)
        local = name == "airflow" and scheme_of(self.places.home)
        return (self.place("scratch") if local else self.place("home")) / default

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI. A SQLite file's path is absolute: Airflow's tasks run in folders of their own."""
        given = self.places.mlflow or f"{SQLITE}{self.place('home') / 'mlflow.db'}"
        file = given.removeprefix(SQLITE)
        return given if file == given else f"{SQLITE}{self.root / file}"

    def sources_of(self, kind: str) -> list[Source]:
        """Sources of one kind, in their order."""
        return [source for source in self.sources if source.kind == kind]

    def attributes(self, kind: Literal["items", "users"]) -> dict[str, str]:
        """Declared attribute of items or users -> its type: that of the field it is taken from, or string for an
        expression."""
        return {
            name: source.fields.get(made, "string")
            for source in self.sources_of(kind)
            for name, made in source.attributes.items()
        }

    @property
    def clock_ahead(self) -> timedelta:
        return timedelta(minutes=self.late.clock_ahead_minutes)

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any setting that a result depends on; the run records have them."""
        return hashlib.sha256(
            self.model_dump_json(exclude={"places", "spark", "airflow", "serving", "file"}).encode()
        ).hexdigest()[:12]
