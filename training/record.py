"""A trained model -> one MLflow run and one version of the registered model, with what it was trained on."""

import json
import time
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import models
from models import registry
from nightloom.contracts import INTERACTIONS
from nightloom.night.context import Night
from nightloom.night.revision import code_revision
from nightloom.places import local_copy
from training import registration
from training.fit import FittedModel, Task


def record(
    night: Night, task: Task, fitted: FittedModel, rows: int, more: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Log params, learning curve, data and files; register the model. Returns the new version's number.

    The version's tags have what gate 2, training.due and people need: night, cut, table version, rows, code, `more`.
    """
    mlflow_client = registry.client(night.settings)
    import mlflow

    tags = {
        "model": fitted.name, "night": str(night.date), "cut": task.cut.isoformat(), "code": code_revision(),
        "table": INTERACTIONS.full_name, "table_version": str(task.version), "rows": str(rows),
        "config": night.settings.digest, "run_id": night.run_id, **more,
    }  # fmt: skip
    run_name = f"{fitted.name} {night.date}{' refit' if task.earlier else ''}"
    with mlflow.start_run(
        experiment_id=registration.experiment_id(night.settings), run_name=run_name, tags=tags
    ) as run:
        mlflow.log_params({**fitted.params, "seed": task.seed, "holdout_days": (night.end - task.cut).days})
        mlflow_client.log_batch(run.info.run_id, metrics=_metrics(fitted))
        mlflow.log_dict(json.loads(night.settings.model_dump_json(exclude={"places", "file"})), "config.json")
        mlflow.log_input(_dataset(night, task), context="training")
        with warnings.catch_warnings():  # it asks for an input example, and would load the model to try it
            warnings.filterwarnings("ignore", message=".*input example was not provided.*")
            with local_copy(fitted.files) as files:
                logged = mlflow.pyfunc.log_model(name=fitted.name, **_pyfunc(files))
    version = registration.register(night.settings, logged, run.info.run_id, tags)
    print(f"{fitted.name}: version {version}, {fitted.likes:,} likes, {fitted.seconds:.1f} s", flush=True)
    return version


def _metrics(fitted: FittedModel) -> list[Any]:
    """The learning curve step by step, and the training's totals, in one batch: single calls take 20 times as long."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    totals = {"likes": fitted.likes, "users": fitted.users, "items": fitted.items, "training_seconds": fitted.seconds}
    steps = [(name, value, int(one["epoch"])) for one in fitted.curve for name, value in one.items() if name != "epoch"]
    return [
        Metric(name, float(value), now, step) for name, value, step in [*steps, *((n, v, 0) for n, v in totals.items())]
    ]


def _dataset(night: Night, task: Task) -> Any:
    """The table at its version, as MLflow's data set; the version is a tag too, since version 0 is lost on the way."""
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = DeltaDatasetSource(path=night.lake.path(INTERACTIONS), delta_table_version=task.version)
    return MetaDataset(source, name=f"{INTERACTIONS.full_name} v{task.version}")  # type: ignore[abstract]  # it is not, at run time


def _pyfunc(files: Path) -> dict[str, Any]:
    """The model as MLflow's pyfunc, made from code (models/pyfunc.py), so that any MLflow tool can serve it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    texts = Array(DataType.string)
    features = ColSpec(texts, "features", required=False)
    inputs = Schema([ColSpec("string", "user_id"), ColSpec(texts, "items"), ColSpec("long", "k"), features])
    outputs = Schema([ColSpec("string", "user_id"), ColSpec(texts, "items"), ColSpec(Array(DataType.float), "scores")])
    package = Path(models.__file__).parent
    return {
        "python_model": str(package / "pyfunc.py"),
        "artifacts": {registry.FILES: str(files)},
        "code_paths": [str(package), str(package.parent / "nightloom")],
        "signature": ModelSignature(inputs, outputs),
        "pip_requirements": [f"{package}=={metadata.version(package)}" for package in models.requirements(files)],
    }
