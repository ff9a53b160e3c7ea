"""training.train: silver.interactions at one pinned version -> one challenger per model of nightloom.toml, in MLflow.

Nobody trains on the last `training.holdout_days` days up to the night: gate 2 judges on them. Models that train on many
ranks run in processes of their own (docs/ranks.md), while the others are trained here.
"""

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from models import registry
from models.declared import models_to_train
from nightloom.contracts import INTERACTIONS
from nightloom.errors import DataError
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.places import remove_tree
from training import fit, launch, new_items, record, search
from training.dataset import count_rows_before
from training.fit import FittedModel


def main(night: Night) -> None:
    """Train the models of nightloom.toml (or --model NAME) on the interactions before the holdout; register each."""
    if night.arguments.when == "first" and (champion := registry.champion(night.settings)):
        extension, due = new_items.add_new_items(night), stages.TRAINING_DUE.name
        served = f"; {extension}" if extension else ""
        night.skip(f"version {champion.version} ({champion.name}) is champion; {due} says when to retrain{served}")
    specs = models_to_train(night.settings, night.arguments.model)
    version = night.pin(INTERACTIONS)
    # Every version has the number of rows there were: training.due compares later numbers with it.
    rows = count_rows_before(night.lake, version, night.end)
    task = replace(fit.task_of(night, version), features=launch.feature_versions(night, specs))
    specs = search.with_best_params(night, task, specs)
    folders = {spec.name: launch.training_folder(night, task, spec) for spec in specs}
    # One after another: ranks take the whole machine, and two trainings on the same cores took a fifth longer.
    trained, recorded, refusals = dict[str, FittedModel](), dict[str, Future[str]](), list[str]()
    with ThreadPoolExecutor(1) as recorder:  # MLflow takes seconds for a model; meanwhile the next one trains
        for spec in specs:
            try:
                fitted = trained[spec.name] = launch.train(night, task, spec, folders[spec.name], trained)
            except DataError as error:  # a young project has too few likes for some models; others may do with them
                refusals.append(f"{spec.name}: {error}")
                print(f"not trained, {refusals[-1]}", file=sys.stderr)
                continue
            recorded[spec.name] = recorder.submit(record.record, night, task, fitted, rows)
    versions = {name: one.result() for name, one in recorded.items()}
    for folder in folders.values():
        remove_tree(folder)
    if refusals and not versions and registry.champion(night.settings):
        raise DataError("; ".join(refusals))
    night.tags["model_versions"] = ",".join(versions.values())
    night.tags["models"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    if refusals:
        night.tags["not_trained"] = "; ".join(refusals)
    night.counts |= {"models": len(versions), "interactions": rows}


FIRST = "first: only while there is no champion; a champion takes new items instead (training.max_unknown_share)"
OPTIONS: dict[str, dict[str, Any]] = {
    "--when": {"choices": ["always", "first"], "default": "always", "help": FIRST},
    "--model": {"help": "train this one only"},
}

if __name__ == "__main__":
    run_stage(stages.TRAIN, main, options=OPTIONS)
