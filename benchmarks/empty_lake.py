"""Removes the lake, training checkpoints, pages and registered models of a project; the serving store stays.

benchmarks/container_faults.py runs it in a container, so that the next night is a first one.
"""

from models import registry
from nightloom import settings as settings_module
from nightloom.places import remove_tree


def main() -> None:
    settings = settings_module.load()
    for name in ("lake", "training", "reports", "data-docs"):
        remove_tree(settings.place("home") / name)
    client, project = registry.client(settings), settings.project.name
    client.delete_registered_model(project)
    experiment = client.get_experiment_by_name(project)
    if experiment is not None:
        # MLflow keeps the name of a deleted one.
        client.rename_experiment(experiment.experiment_id, f"{project}-{experiment.experiment_id}")
        client.delete_experiment(experiment.experiment_id)


if __name__ == "__main__":
    main()
