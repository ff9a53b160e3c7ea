"""training.train: silver.interactions at one pinned version -> one challenger per model of nightloom.toml, in MLflow.

Nobody trains on the last `training.holdout_days` days up to the night: gate 2 judges on them. Models that train on many
ranks run in processes of their own (docs/ranks.md), while the others are trained here.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import models
from models import registry
from models.declared import models_to_train
from nightloom.contracts import INTERACTIONS, ITEMS, USERS
from nightloom.errors import DataError, NightloomError
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.revision import code_revision
from nightloom.night.run import run_stage
from nightloom.places import Place, remove_tree
from nightloom.settings import ModelSpec
from training import distributed, fit, record, search
from training.dataset import count_rows_before
from training.features import FeatureVersions


class TrainingError(NightloomError):
    """A training process failed."""


def main(night: Night) -> None:
    """Train the models of nightloom.toml (or --model NAME) on the interactions before the holdout; register each."""
    if night.arguments.when == "first" and (champion := registry.champion(night.settings)):
        due = stages.TRAINING_DUE.name
        night.skip(f"version {champion.version} ({champion.name}) is champion; {due} says when to retrain")
    specs = models_to_train(night.settings, night.arguments.model)
    version = night.pin(INTERACTIONS)
    # Every version has the number of rows there were: training.due compares later numbers with it.
    rows = count_rows_before(night.lake, version, night.end)
    task = replace(fit.task_of(night, version), features=feature_versions(night, specs))
    specs = search.with_best_params(night, task, specs)
    folders = training_folders(night, task, specs)
    # One after another: ranks take the whole machine, and two trainings on the same cores took a fifth longer.
    versions, refusals = dict[str, str](), list[str]()
    for spec in specs:
        folder, ranked = folders[spec.name], models.definition(spec.name).distributed
        try:
            fitted = fit_on_ranks(night, task, spec, folder) if ranked else fit.fit(task, spec, folder)
        except DataError as error:  # a young project has too few likes for some models; others may do with them
            refusals.append(f"{spec.name}: {error}")
            print(f"not trained, {refusals[-1]}", file=sys.stderr)
            continue
        versions[spec.name] = record.record(night, task, fitted, rows)
    for folder in folders.values():
        remove_tree(folder)
    if refusals and not versions and registry.champion(night.settings):
        raise DataError("; ".join(refusals))
    night.tags["model_versions"] = ",".join(versions.values())
    night.tags["models"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    if refusals:
        night.tags["not_trained"] = "; ".join(refusals)
    night.counts |= {"models": len(versions), "interactions": rows}


def feature_versions(night: Night, specs: Sequence[ModelSpec]) -> FeatureVersions:
    """Versions of silver.items and silver.users as they are now, where one of the models takes their features."""
    definitions = [models.definition(spec.name) for spec in specs]
    tables = (
        (ITEMS, any(definition.item_features for definition in definitions)),
        (USERS, any(definition.user_features for definition in definitions)),
    )
    pinned = (night.pin(table) if wanted and night.lake.exists(table) else None for table, wanted in tables)
    return FeatureVersions(*pinned)


def training_folders(night: Night, task: fit.Task, specs: Sequence[ModelSpec]) -> dict[str, Place]:
    """A folder for each model's training. The same task, settings and code have the same folder, so that a training
    that was killed goes on. Folders of the same model and night for other ones are removed.
    """
    home, code = night.settings.place("home") / "training", code_revision()
    found = {}
    for spec in specs:
        terms = f"{task.version} {task.features} {code} {night.settings.training!r} {spec!r}"
        name = f"{night.date}-{spec.name}"
        found[spec.name] = home / f"{name}-{hashlib.sha256(terms.encode()).hexdigest()[:12]}"
        others: list[Place] = list(home.glob(f"{name}-*"))
        for other in others:
            if other.name != found[spec.name].name:
                remove_tree(other)
    return found


def fit_on_ranks(night: Night, task: fit.Task, spec: ModelSpec, folder: Place) -> fit.FittedModel:
    """Train one model in processes of its own, on as many ranks as configured. Raises TrainingError, DataError."""
    training = night.settings.training
    ranks = distributed.configured_ranks(training)
    versions = (("items", task.features.items), ("users", task.features.users))
    described = [f"--{table}={version}" for table, version in versions if version is not None]
    command = distributed.command(
        ranks, "training.fit", "--config", str(night.settings.file), "--date", str(night.date),
        "--model", spec.name, "--params", json.dumps(spec.params), "--version", str(task.version), *described,
        "--folder", str(folder), settings=night.settings,
    )  # fmt: skip
    given = distributed.environment(ranks, training)
    where = distributed.describe_devices(ranks)
    print(f"{spec.name}: {ranks} ranks, {given['OMP_NUM_THREADS']} threads each, {where}", flush=True)
    for restarts in range(training.restarts + 1):
        done = subprocess.run(command, env=os.environ | given, check=False)
        if done.returncode and (refusal := fit.read_refusal(folder)):
            raise DataError(refusal)
        if not done.returncode:
            return fit.read(folder)
        if restarts < training.restarts:
            print(
                f"{spec.name}: the ranks ended with exit code {done.returncode}; restart {restarts + 1} of "
                f"{training.restarts} continues from the last checkpoint",
                flush=True,
            )
    raise TrainingError(
        f"{spec.name} did not train: exit code {done.returncode} of {' '.join(command)}, after {training.restarts} "
        "restarts (training.restarts); its own message is above"
    )


OPTIONS: dict[str, dict[str, Any]] = {
    "--when": {"choices": ["always", "first"], "default": "always", "help": "first: only while there is no champion"},
    "--model": {"help": "train this one only"},
}

if __name__ == "__main__":
    run_stage(stages.TRAIN, main, options=OPTIONS)
