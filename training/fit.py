"""One model, from a pinned version of silver.interactions: its files and its learning curve, in a folder.

`python -m training.fit ...` is what each Horovod rank runs; training.train starts it, or calls fit() itself. If it is
killed, it goes on from the last checkpoint in the folder when it is started again with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

import models
from models.base import Examples, Model, Report
from models.blend import Blend, BlendParams
from nightloom import settings as settings_module
from nightloom.errors import DataError
from nightloom.lake import Lake
from nightloom.night.context import Night
from nightloom.places import Place, filled_folder, local_copy, place_at, write_text
from nightloom.settings import ModelSpec
from training import distributed, trainers
from training.features import NO_FEATURES, FeatureVersions
from training.rank_shards import read_shard
from training.trainers import blend
from training.trainers.blend import Members


@dataclass(frozen=True)
class Task:
    """Everything besides the code that determines a trained model."""

    lake: Lake
    version: int
    """Of silver.interactions."""
    cut: datetime
    """First moment that is not trained on."""
    seed: int
    features: FeatureVersions = NO_FEATURES
    """For the models that take features of items or users."""
    earlier: Place | None = None
    """Files of the same model, trained on fewer days, which is refitted: of the judged version, or of a blend's member
    that chose the weights. None for a model that is trained from scratch.
    """


@dataclass(frozen=True)
class FittedModel:
    """A trained model's files in `folder`, and how the training went."""

    name: str
    folder: Place
    params: dict[str, float | int | str | bool]
    curve: list[dict[str, float]]
    """One entry per epoch: epoch, seconds since the start, and the model's own figures."""
    seconds: float
    """Of the attempt that finished it."""
    likes: int
    users: int
    items: int

    @property
    def files(self) -> Place:
        return self.folder / "files"  # named as registry.FILES: MLflow keeps the name of the folder


def examples_for(task: Task, spec: ModelSpec) -> Examples:
    """What this process's rank trains on: its users' likes, and features if the model takes them."""
    group, definition = distributed.group(), models.definition(spec.name)
    versions = FeatureVersions(
        items=task.features.items if definition.item_features else None,
        users=task.features.users if definition.user_features else None,
    )
    return read_shard(task.lake, task.version, task.cut, task.seed, group.rank, group.size, versions)


def fit(task: Task, spec: ModelSpec, folder: Place, members: Members | None = None) -> FittedModel:
    """Train one model, on the ranks of the group this process is in; of a blend, `members` may be trained already.

    Rank 0 writes the files. Raises DataError where the data are too few for the model; read_refusal() gives its text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _refusal_file(folder).unlink(missing_ok=True)
    try:
        return _fit(task, spec, folder, members)
    except DataError as error:
        _refusal_file(folder).write_text(str(error), encoding="utf8")
        raise


def _refusal_file(folder: Place) -> Place:
    return folder / "refusal.txt"


def read_refusal(folder: Place) -> str | None:
    """Why the last training in a folder, maybe in another process, refused the data; None where it did not."""
    return _refusal_file(folder).read_text(encoding="utf8") if _refusal_file(folder).exists() else None


def _fit(task: Task, spec: ModelSpec, folder: Place, members: Members | None) -> FittedModel:
    started, group = time.monotonic(), distributed.group()
    examples = examples_for(task, spec)
    if not len(examples.item_ids):
        raise DataError(
            f"no likes before {task.cut:%Y-%m-%d}, so there is nothing to train on; give the project older events, "
            "or lower training.holdout_days"
        )
    own = np.array([len(examples.histories.items), len(examples.histories)], np.float64)
    print(f"{spec.name}: rank {group.rank} of {group.size}: {own[0]:,.0f} likes of {own[1]:,.0f} users", flush=True)
    # A checkpoint is of one network: a blend, which trains several, must not go on from that of a member.
    group.folder = folder if models.definition(spec.name).distributed else None
    try:
        model = _train(task, spec, examples, members, _report(spec.name, folder))
    finally:
        group.folder = None
    likes, users = group.sum(own).astype(int)
    fitted = FittedModel(
        spec.name, folder, model.params.model_dump(), _read_curve(folder), time.monotonic() - started,
        int(likes), int(users), len(examples.item_ids),
    )  # fmt: skip
    if group.rank == 0:
        with filled_folder(fitted.files) as files:
            model.save(files)
        (folder / "fitted.json").write_text(json.dumps({**vars(fitted), "folder": str(folder)}))
    return fitted


def _train(task: Task, spec: ModelSpec, examples: Examples, members: Members | None, report: Report) -> Model:
    if task.earlier is None:
        if members is None:
            return trainers.fit(spec.name, examples, spec.params, report)
        return blend.combine(examples, BlendParams(**spec.params), members, report)
    with local_copy(task.earlier) as files:
        earlier = models.load(files)
    if members is None:
        return trainers.refit(earlier, examples, report)
    assert isinstance(earlier, Blend)
    return blend.replace_members(earlier, examples, members.models, report)


def _report(name: str, folder: Place) -> Report:
    """Print each epoch and add it to the folder's curve, which an earlier attempt may have begun."""
    lap = time.monotonic()

    def report(epoch: int, figures: dict[str, float]) -> None:
        nonlocal lap
        before = [point for point in _read_curve(folder) if point["epoch"] < epoch]
        seconds = (before[-1]["seconds"] if before else 0.0) + time.monotonic() - lap
        lap = time.monotonic()
        write_text(folder / "curve.json", json.dumps([*before, {"epoch": epoch, "seconds": seconds, **figures}]))
        text = ", ".join(f"{name} {value:.5g}" for name, value in figures.items())
        print(f"{name}: epoch {epoch}, {text}, {seconds:.1f} s", flush=True)

    return report


def _read_curve(folder: Place) -> list[dict[str, float]]:
    file = folder / "curve.json"
    return json.loads(file.read_text()) if file.exists() else []


def read(folder: Place) -> FittedModel:
    """What fit() wrote into a folder, maybe in another process."""
    fields = json.loads((folder / "fitted.json").read_text())
    return FittedModel(**{**fields, "folder": folder})


def task_of(night: Night, version: int) -> Task:
    """The training of a night: all interactions before the days on which gate 2 compares models."""
    cut = night.end - timedelta(days=night.settings.training.holdout_days)
    return Task(night.lake, version, cut, night.settings.training.seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Train one model as one of the ranks of the group that started this process."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--params", type=json.loads, required=True, help="JSON")
    parser.add_argument("--version", type=int, required=True, help="of silver.interactions")
    parser.add_argument("--cut", type=datetime.fromisoformat, required=True, help="first moment not to train on")
    parser.add_argument("--items", type=int, help="version of silver.items, for a model that takes features")
    parser.add_argument("--users", type=int, help="version of silver.users, likewise")
    parser.add_argument("--earlier", type=place_at, help="files of the model to refit")
    parser.add_argument("--folder", type=place_at, required=True)
    given = parser.parse_args(argv)
    settings = settings_module.load(given.config)
    group = distributed.group()
    group.compression = settings.training.compression
    task = Task(
        Lake(settings.place("lake")), given.version, given.cut, settings.training.seed,
        FeatureVersions(given.items, given.users), given.earlier,
    )  # fmt: skip
    group.run(lambda: fit(task, ModelSpec(name=given.model, params=given.params), given.folder))


if __name__ == "__main__":
    main()
