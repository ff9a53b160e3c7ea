"""Where a model trains: in this process, or on ranks in processes of their own (docs/ranks.md)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import models
from models.base import Model, read
from models.blend import Blend, BlendParams
from nightloom.contracts import ITEMS, USERS
from nightloom.errors import DataError, NightloomError
from nightloom.night.context import Night
from nightloom.night.revision import code_revision
from nightloom.places import Place, filled_folder, folder_of, local_copy, remove_tree
from nightloom.settings import ModelSpec, Settings
from training import distributed, fit
from training.features import FeatureVersions
from training.fit import FittedModel, Task
from training.trainers.blend import Members


class TrainingError(NightloomError):
    """A training process failed."""


def feature_versions(night: Night, specs: Sequence[ModelSpec]) -> FeatureVersions:
    """Versions of silver.items and silver.users as they are now, where one of the models takes their features."""
    definitions = [models.definition(spec.name) for spec in specs]
    tables = (
        (ITEMS, any(definition.item_features for definition in definitions)),
        (USERS, any(definition.user_features for definition in definitions)),
    )
    pinned = (night.pin(table) if wanted and night.lake.exists(table) else None for table, wanted in tables)
    return FeatureVersions(*pinned)


def training_folder(night: Night, task: Task, spec: ModelSpec) -> Place:
    """A folder for a model's training. The same task, settings and code have the same folder, so that a training that
    was killed goes on. Folders of the same model and night for other ones are removed.
    """
    home, code = night.settings.place("home") / "training", code_revision()
    terms = f"{task.version} {task.cut} {task.earlier} {task.features} {code} {night.settings.training!r} {spec!r}"
    name = f"{night.date}-{'refit-' if task.earlier else ''}{spec.name}"
    found = home / f"{name}-{hashlib.sha256(terms.encode()).hexdigest()[:12]}"
    others: list[Place] = list(home.glob(f"{name}-*"))
    for other in others:
        if other.name != found.name:
            remove_tree(other)
    return found


def train(
    night: Night, task: Task, spec: ModelSpec, folder: Place, trained: Mapping[str, FittedModel] = MappingProxyType({})
) -> FittedModel:
    """Train one model where it trains best. Raises TrainingError, DataError.

    `trained` are models of the same task by name: a blend takes its members from there.
    """
    if models.definition(spec.name).distributed:
        return fit_on_ranks(night, task, spec, folder)
    members = train_members(night, task, spec, folder, trained) if spec.name == Blend.name else None
    return fit.fit(task, spec, folder, members)


def train_members(
    night: Night, task: Task, spec: ModelSpec, folder: Place, trained: Mapping[str, FittedModel]
) -> Members | None:
    """A blend's members, each by a training of its own; None where the blend draws likes at random to weigh them."""
    if task.earlier:
        params = BlendParams(**read(folder_of(task.earlier))[0])
        refits = (
            train(night, replace(task, earlier=task.earlier / name), ModelSpec(name=name), folder / name)
            for name in params.names
        )
        return Members(tuple(map(_load, refits)))
    params = BlendParams(**spec.params)
    if not params.held_out_days:
        return None
    shorter = replace(task, cut=task.cut - timedelta(days=params.held_out_days))
    members, earlier = list[Model](), list[Model]()
    for spec in (ModelSpec(name=name, params=params.of(name)) for name in params.names):
        first = train(night, shorter, spec, folder / f"earlier-{spec.name}")
        declared = _find(trained, spec)
        refit = replace(task, earlier=first.files)
        members.append(_load(declared or train(night, refit, ModelSpec(name=spec.name), folder / spec.name)))
        earlier.append(_load(first))
    return Members(tuple(members), tuple(earlier))


def _find(trained: Mapping[str, FittedModel], spec: ModelSpec) -> FittedModel | None:
    """The model of this name and these hyper-parameters, if it is trained."""
    found, params = trained.get(spec.name), models.definition(spec.name).params(**spec.params)
    return found if found and found.params == params.model_dump() else None


def _load(fitted: FittedModel) -> Model:
    with local_copy(fitted.files) as files:
        return models.load(files)


def fit_on_ranks(night: Night, task: Task, spec: ModelSpec, folder: Place) -> FittedModel:
    """Train one model in processes of its own, on as many ranks as configured. Raises TrainingError, DataError."""
    training = night.settings.training
    ranks = distributed.configured_ranks(training)
    if task.earlier is not None:
        task = replace(task, earlier=_copy_for_ranks(task.earlier, folder))
    command = rank_command(night.settings, task, spec, folder, ranks)
    environment = distributed.environment(ranks, training)
    where = distributed.describe_devices(ranks)
    print(f"{spec.name}: {ranks} ranks, {environment['OMP_NUM_THREADS']} threads each, {where}", flush=True)
    for restarts in range(training.restarts + 1):
        done = subprocess.run(command, env=os.environ | environment, check=False)
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


def rank_command(settings: Settings, task: Task, spec: ModelSpec, folder: Place, ranks: int) -> list[str]:
    """The command that trains one model on ranks."""
    given = {
        "config": settings.file, "model": spec.name, "params": json.dumps(spec.params), "version": task.version,
        "cut": task.cut.isoformat(), "items": task.features.items, "users": task.features.users,
        "earlier": task.earlier, "folder": folder,
    }  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return distributed.command(ranks, "training.fit", *arguments, settings=settings)


def _copy_for_ranks(earlier: Place, folder: Place) -> Place:
    """A model's files in the folder of the training: ranks on other machines see no other one."""
    copy = folder / "earlier"
    with filled_folder(copy) as files:
        shutil.copytree(folder_of(earlier), files, dirs_exist_ok=True)
    return copy
