"""The seam to MLflow: models recorded with the data they saw, versions, the aliases `champion` and `challenger`.

A version's files are fetched once into HOME/models and read from there: loading needs no MLflow, so Spark's workers
call models.load(folder) with the folder that champion() gave the driver.
"""

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import models
from models.base import Model
from nightloom.errors import NightloomError
from nightloom.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo
    from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
FILES = "files"  # the artefact of the logged model that holds the files of Model.save()


class RegistryError(NightloomError):
    """The registry lacks what was asked for."""


@dataclass(frozen=True)
class Registered:
    """One version of the registered model, its files on this machine."""

    version: str
    name: str
    """Which model: als, sequence, ..."""
    folder: Path
    tags: Mapping[str, str]
    """night, cut (ISO times), table, table_version, rows, code, config, run_id."""

    @cached_property
    def model(self) -> Model:
        return models.load(self.folder)


def client(settings: Settings) -> "MlflowClient":
    """MLflow's client for this project's tracking URI; the fluent functions (mlflow.start_run) use it too.

    Call it before anything else is imported from MLflow: it reads its environment then.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # 40 lines each time a database is made
    import mlflow  # 1.5 s: only for those who ask the registry

    if settings.tracking_uri.startswith("sqlite:///"):
        Path(settings.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(settings.tracking_uri)
    return mlflow.MlflowClient()


def experiment(settings: Settings) -> str:
    """Id of the project's experiment, made at its first use; without a server its artefacts lie beside the database."""
    asked = client(settings)
    if found := asked.get_experiment_by_name(settings.project.name):
        return str(found.experiment_id)
    local = (settings.place("home") / "mlflow").as_uri() if settings.tracking_uri.startswith("sqlite:") else None
    return str(asked.create_experiment(settings.project.name, artifact_location=local))


def champion(settings: Settings) -> Registered | None:
    """The version that scores, or None before the first promotion."""
    asked = client(settings)
    from mlflow.exceptions import MlflowException

    try:
        found = asked.get_model_version_by_alias(settings.project.name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return _registered(settings, found)


def candidates(settings: Settings, night: date) -> list[Registered]:
    """What was trained for that night: the newest version of each model."""
    found = client(settings).search_model_versions(f"name = '{settings.project.name}'")
    newest: dict[str, ModelVersion] = {}
    for version in sorted(found, key=lambda each: int(each.version)):
        if version.tags.get("night") == str(night):
            newest[version.tags["model"]] = version
    return [_registered(settings, version) for version in newest.values()]


def oldest(settings: Settings) -> Registered | None:
    """The first version that was registered, or None."""
    found = client(settings).search_model_versions(f"name = '{settings.project.name}'")
    return _registered(settings, min(found, key=lambda each: int(each.version))) if found else None


def registered(settings: Settings, version: str) -> Registered:
    """A version by its number. Raises RegistryError when there is none of that number."""
    asked = client(settings)
    from mlflow.exceptions import MlflowException

    try:
        found = asked.get_model_version(settings.project.name, version)
    except MlflowException as error:
        raise RegistryError(f"model {settings.project.name} has no version {version}: {error.message}") from None
    return _registered(settings, found)


def load(settings: Settings, version: str) -> Model:
    """A version's model. Raises RegistryError when there is none of that number."""
    return registered(settings, version).model


def register(settings: Settings, logged: "ModelInfo", run_id: str, tags: dict[str, str]) -> str:
    """Make a logged model the newest version of the project's registered model; returns its number."""
    asked, name = client(settings), settings.project.name
    from mlflow.exceptions import MlflowException

    try:
        asked.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = asked.create_model_version(name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)
    return str(made.version)


def set_alias(settings: Settings, alias: str, version: str) -> None:
    """Move an alias; whoever asks for the champion next gets the new one."""
    client(settings).set_registered_model_alias(settings.project.name, alias, version)


def newest(settings: Settings) -> Registered | None:
    """The version that was registered last, or None."""
    found = client(settings).search_model_versions(f"name = '{settings.project.name}'")
    return _registered(settings, max(found, key=lambda each: int(each.version))) if found else None


def describe(settings: Settings, version: str, text: str) -> None:
    """Give a version its description on MLflow's page."""
    client(settings).update_model_version(settings.project.name, version, text)


def curves(settings: Settings, version: str) -> dict[str, list[tuple[int, float]]]:
    """What a version's training reported more than once: figure -> (epoch, value), e.g. of its loss."""
    asked = client(settings)
    run_id = str(asked.get_model_version(settings.project.name, version).run_id)
    points = {
        name: [(one.step, one.value) for one in asked.get_metric_history(run_id, name)]
        for name in sorted(asked.get_run(run_id).data.metrics) if name != "seconds"
    }  # fmt: skip
    return {name: sorted(curve) for name, curve in points.items() if len(curve) > 1}


def _registered(settings: Settings, version: "ModelVersion") -> Registered:
    folder = settings.place("home") / "models" / f"{version.version}-{str(version.run_id)[:12]}"
    if not folder.exists():
        _fetch(f"models:/{version.name}/{version.version}/artifacts/{FILES}", folder)
    return Registered(str(version.version), version.tags["model"], folder, version.tags)


def _fetch(uri: str, folder: Path) -> None:
    """Download into a scratch folder, then rename: another process sees the whole folder or none."""
    from mlflow.artifacts import download_artifacts

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        fetched = download_artifacts(artifact_uri=uri, dst_path=scratch)
        try:
            Path(fetched).rename(folder)
        except OSError:  # another process was quicker
            if not folder.exists():
                raise
