"""MLflow's model registry, the reading side: the champion, or a version, with its files on this machine.

A version's files are fetched once into HOME/models and read from there: loading needs no MLflow, so Spark's workers
call models.load(folder) with the folder that champion() gave the driver. training/registration.py is the writing side.
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
from nightloom.literals import sql_text
from nightloom.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
REFIT_OF = "refit_of"
"""Tag of a refit: the number of the judged version, trained again with the days that judged it."""
EXTENSION_OF = "extension_of"
"""Tag of a refit that was not trained: the number of the version that took new items (training/new_items.py)."""
FILES = "files"  # the artefact of the logged model that holds the files of Model.save()


class RegistryError(NightloomError):
    """The registry has no such version, or MLflow is not installed here."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of the registered model, its files on this machine."""

    version: str
    name: str
    """Which model: als, sequence, ..."""
    folder: Path
    tags: Mapping[str, str]
    """night, cut (ISO times), table, table_version, rows, code, config, run_id; of a refit also REFIT_OF, and of one
    with new items EXTENSION_OF."""

    @cached_property
    def model(self) -> Model:
        return models.load(self.folder)


def client(settings: Settings) -> "MlflowClient":
    """MLflow's client for this project's tracking URI; the fluent functions (mlflow.start_run) use the same URI.

    Call it before importing anything else from MLflow, which reads its environment then. Raises RegistryError where
    MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # 40 lines for each new database
    try:
        import mlflow  # 1.5 s: only for those who read the registry
    except ModuleNotFoundError as error:
        raise RegistryError(
            f"MLflow is not installed here ({error}), as in the image for serving; run this where models are trained"
        ) from None
    if settings.tracking_uri.startswith("sqlite:///"):
        Path(settings.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(settings.tracking_uri)
    return mlflow.MlflowClient()


def champion(settings: Settings) -> RegisteredVersion | None:
    """The judged version that won, or None before the first promotion; serving_version() is the one that scores."""
    found = _champion(settings)
    return _fetched(settings, found) if found else None


def serving_version(settings: Settings) -> RegisteredVersion | None:
    """The version that scores: the champion's newest refit, the champion where it has none; None without a champion."""
    found = _champion(settings)
    return (newest_refit(settings, str(found.version)) or _fetched(settings, found)) if found else None


def newest_refit(settings: Settings, version: str) -> RegisteredVersion | None:
    """The refit of a judged version on the most days, or None."""
    found = _refits(settings).get(version)
    return _fetched(settings, found[-1]) if found else None


def refits(settings: Settings) -> dict[str, list[str]]:
    """Judged version -> its refits, the one on the most days last."""
    return {judged: [str(each.version) for each in found] for judged, found in _refits(settings).items()}


def versions_of_night(settings: Settings, night: date) -> list[RegisteredVersion]:
    """The newest version of each model that was trained for that night to be judged."""
    by_model: dict[str, ModelVersion] = {}
    for version in _judged_versions(settings):
        if version.tags.get("night") == str(night):
            by_model[version.tags["model"]] = version
    return [_fetched(settings, version) for version in by_model.values()]


def oldest_version(settings: Settings) -> RegisteredVersion | None:
    """The first version that was registered, or None."""
    found = _judged_versions(settings)
    return _fetched(settings, found[0]) if found else None


def find_version(settings: Settings, version: str) -> RegisteredVersion:
    """A version by its number. Raises RegistryError when there is none of that number."""
    mlflow_client = client(settings)
    from mlflow.exceptions import MlflowException

    try:
        found = mlflow_client.get_model_version(settings.project.name, version)
    except MlflowException as error:
        raise RegistryError(f"model {settings.project.name} has no version {version}: {error.message}") from None
    return _fetched(settings, found)


def load_version(settings: Settings, version: str) -> Model:
    """A version's model. Raises RegistryError when there is none of that number."""
    return find_version(settings, version).model


def newest_version(settings: Settings) -> RegisteredVersion | None:
    """The version of the last training that a gate has to judge, or None."""
    found = _judged_versions(settings)
    return _fetched(settings, found[-1]) if found else None


def versions_in_use(settings: Settings) -> set[str]:
    """The versions that an alias names, the champion and the last challenger, and their newest refits."""
    mlflow_client = client(settings)
    from mlflow.exceptions import MlflowException

    try:
        aliases = mlflow_client.get_registered_model(settings.project.name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # nothing was registered yet
            return set()
        raise
    named, again = {str(version) for version in aliases.values()}, refits(settings)
    return named | {again[version][-1] for version in named & again.keys()}


def _champion(settings: Settings) -> "ModelVersion | None":
    database = settings.tracking_uri.removeprefix("sqlite:///")
    if database != settings.tracking_uri and not Path(database).exists():
        return None  # MLflow would create the database, which takes seconds
    mlflow_client = client(settings)
    from mlflow.exceptions import MlflowException

    try:
        return mlflow_client.get_model_version_by_alias(settings.project.name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _refits(settings: Settings) -> "dict[str, list[ModelVersion]]":
    found: dict[str, list[ModelVersion]] = {}
    # A gate may run again for an older night: its refit knows fewer days, whatever its number.
    for each in sorted(_versions(settings), key=lambda each: each.tags.get("night", "")):
        if judged := each.tags.get(REFIT_OF):
            found.setdefault(judged, []).append(each)
    return found


def _judged_versions(settings: Settings) -> "list[ModelVersion]":
    """All versions but refits, the oldest first."""
    return [each for each in _versions(settings) if REFIT_OF not in each.tags]


def _versions(settings: Settings) -> "list[ModelVersion]":
    """All versions, the oldest first."""
    found = client(settings).search_model_versions(f"name = {sql_text(settings.project.name)}")
    return sorted(found, key=lambda each: int(each.version))


def _fetched(settings: Settings, version: "ModelVersion") -> RegisteredVersion:
    folder = settings.place("scratch") / "models" / f"{version.version}-{str(version.run_id)[:12]}"
    if not folder.exists():
        _fetch(f"models:/{version.name}/{version.version}/artifacts/{FILES}", folder)
    return RegisteredVersion(str(version.version), version.tags["model"], folder, version.tags)


def _fetch(uri: str, folder: Path) -> None:
    """Download into a scratch folder, then rename: another process sees the whole folder or none."""
    from mlflow.artifacts import download_artifacts

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        fetched = download_artifacts(artifact_uri=uri, dst_path=scratch)
        try:
            Path(fetched).rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
