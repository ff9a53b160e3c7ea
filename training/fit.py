"""One model, from a pinned version of silver.interactions: its files and its learning curve, in a folder.

`python -m training.fit ...` is what each Horovod rank runs; training.train starts it, or calls fit() itself.
"""

import argparse
import json
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from nightloom import settings as settings_module
from nightloom.errors import DataError, SettingsError
from nightloom.lake import Lake
from nightloom.manifest import Night
from nightloom.settings import ModelSpec
from training.examples import examples, log
from training.models import KINDS


@dataclass(frozen=True)
class Task:
    """Everything that decides what a model becomes, but for the code."""

    lake: Lake
    version: int
    """Of silver.interactions."""
    cut: datetime
    """First moment that is not trained on."""
    seed: int


@dataclass(frozen=True)
class Fitted:
    """A trained model's files in `folder`/model, and how the training went."""

    name: str
    folder: Path
    params: dict[str, float | int | str | bool]
    curve: list[dict[str, float]]
    """One entry per epoch: epoch, seconds since the start, and the model's own figures."""
    seconds: float
    likes: int
    users: int
    items: int

    @property
    def files(self) -> Path:
        return self.folder / "files"  # named as registry.FILES: MLflow keeps the name of the folder


def fit(task: Task, spec: ModelSpec, folder: Path, *, root: bool = True) -> Fitted:
    """Train one model; its files are written by the root rank only. Raises DataError, SettingsError."""
    started, curve = time.monotonic(), list[dict[str, float]]()

    def report(epoch: int, figures: dict[str, float]) -> None:
        curve.append({"epoch": epoch, "seconds": time.monotonic() - started, **figures})
        told = ", ".join(f"{name} {value:.5g}" for name, value in figures.items())
        print(f"{spec.name}: epoch {epoch}, {told}, {curve[-1]['seconds']:.1f} s", flush=True)

    likes = log(task.lake, task.version, task.cut, only_likes=True)
    if not len(likes.users_N):
        raise DataError(
            f"no likes before {task.cut:%Y-%m-%d}, so there is nothing to train on; give the project older events, "
            "or lower training.holdout_days"
        )
    known = examples(likes, task.cut, task.seed)
    try:
        model = KINDS[spec.name].type().fit(known, dict(spec.params), report)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"models: {spec.name}: params.{first['loc'][0]}: {first['msg']}") from None
    fitted = Fitted(
        spec.name, folder, model.params.model_dump(), curve, time.monotonic() - started,
        len(likes.users_N), len(known.histories), len(known.item_ids),
    )  # fmt: skip
    if root:
        model.save(fitted.files)
        (folder / "fitted.json").write_text(json.dumps({**vars(fitted), "folder": str(folder)}))
    return fitted


def read(folder: Path) -> Fitted:
    """What fit() left in a folder, maybe in another process."""
    told = json.loads((folder / "fitted.json").read_text())
    return Fitted(**{**told, "folder": Path(told["folder"])})


def task_of(night: Night, version: int) -> Task:
    """The training of a night: everything before the days that gate 2 judges on."""
    cut = night.end - timedelta(days=night.settings.training.holdout_days)
    return Task(night.lake, version, cut, night.settings.training.seed)


def main() -> None:
    """Train one model as one of the ranks of the group that started this process."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--params", type=json.loads, help="JSON; default those of nightloom.toml")
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    from training import distributed

    settings = settings_module.load(given.config)
    night = Night(date=given.date, settings=settings, run_id="", stage="training.fit")
    spec = next(spec for spec in settings.models if spec.name == given.model)
    if given.params is not None:
        spec = spec.model_copy(update={"params": given.params})
    fit(task_of(night, given.version), spec, given.folder, root=distributed.group().rank == 0)


if __name__ == "__main__":
    main()
