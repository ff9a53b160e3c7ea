"""Removes the registered models and the experiment of a project from MLflow.

benchmarks/container_faults.py runs it in a container, so that the next night is a first one.
"""

from models import registry
from nightloom import settings as settings_module


def main() -> None:
    settings = settings_module.load()
    client, project = registry.client(settings), settings.project.name
    client.delete_registered_model(project)
    experiment = client.get_experiment_by_name(project)
    if experiment is not None:
        # MLflow keeps the name of a deleted one.
        client.rename_experiment(experiment.experiment_id, f"{project}-{experiment.experiment_id}")
        client.delete_experiment(experiment.experiment_id)


if __name__ == "__main__":
    main()
