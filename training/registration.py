"""MLflow's model registry, the writing side: runs belong to the project's experiment, their models become versions."""

from pathlib import Path
from typing import TYPE_CHECKING

from models import registry
from nightloom.settings import Settings

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo


def experiment_id(settings: Settings) -> str:
    """The project's experiment, created at its first use; without a server its artefacts are next to the database."""
    mlflow_client = registry.client(settings)
    if found := mlflow_client.get_experiment_by_name(settings.project.name):
        return str(found.experiment_id)
    location = None
    if settings.places.mlflow_artifacts or settings.tracking_uri.startswith("sqlite:"):
        place = settings.place("mlflow_artifacts")
        location = place.as_uri() if isinstance(place, Path) else str(place)
    return str(mlflow_client.create_experiment(settings.project.name, artifact_location=location))


def register(settings: Settings, logged: "ModelInfo", run_id: str, tags: dict[str, str]) -> str:
    """Make a logged model the newest version of the project's registered model. Returns its number."""
    mlflow_client, name = registry.client(settings), settings.project.name
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = mlflow_client.create_model_version(name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)
    return str(created.version)


def set_alias(settings: Settings, alias: str, version: str) -> None:
    """Move an alias to a version."""
    registry.client(settings).set_registered_model_alias(settings.project.name, alias, version)


def describe(settings: Settings, version: str, text: str) -> None:
    """Give a version its description on MLflow's page."""
    registry.client(settings).update_model_version(settings.project.name, version, text)


def learning_curves(settings: Settings, version: str) -> dict[str, list[tuple[int, float]]]:
    """The figures that a version's training reported more than once: name -> (epoch, value), e.g. of its loss."""
    mlflow_client = registry.client(settings)
    run_id = str(mlflow_client.get_model_version(settings.project.name, version).run_id)
    points = {
        name: [(one.step, one.value) for one in mlflow_client.get_metric_history(run_id, name)]
        for name in sorted(mlflow_client.get_run(run_id).data.metrics) if name != "seconds"
    }  # fmt: skip
    return {name: sorted(curve) for name, curve in points.items() if len(curve) > 1}
