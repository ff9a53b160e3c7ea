"""One candidate's training: here, or by Horovod on several ranks of this machine for a model that can."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import models
from models.base import Examples, Histories, Model
from nightloom.settings import Training
from training import distributed, trainers


def fitted(name: str, params: dict[str, Any], examples: Examples, ranks: int, folder: Path) -> Model:
    """Train one model; `folder` is for the files that go to the ranks and come back from them."""
    if not models.definition(name).distributed:
        return trainers.fit(name, examples, params, told(name))
    folder.mkdir()
    likes = examples.histories
    np.savez(
        folder / "examples.npz", item_ids=examples.item_ids, indptr=likes.indptr, items=likes.items,
        weights=likes.weights, times=likes.times, cut=examples.cut, seed=examples.seed,
    )  # fmt: skip
    command = distributed.command(
        ranks, "benchmarks.quality_fit", "--model", name, "--params", json.dumps(params), "--folder", str(folder)
    )
    environment = {**os.environ, **distributed.environment(ranks, Training())}
    if done := subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(f"quality: {name} did not train: exit code {done} of {' '.join(command)}; its own message is above")
    return models.load(folder / "model")


def told(name: str) -> Any:
    """A report that prints each epoch."""

    def report(epoch: int, figures: dict[str, float]) -> None:
        print(
            f"{name}: epoch {epoch}, " + ", ".join(f"{key} {value:.5g}" for key, value in figures.items()), flush=True
        )

    return report


def main() -> None:
    """One rank of the training that fitted() started."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--params", type=json.loads, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    group = distributed.group()
    with np.load(given.folder / "examples.npz") as kept:
        likes = Histories(kept["indptr"], kept["items"], kept["weights"], kept["times"])
        own = likes.of(np.arange(group.rank, len(likes), group.size))
        examples = Examples(kept["item_ids"], own, int(kept["cut"]), int(kept["seed"]))
    model = trainers.fit(given.model, examples, given.params, told(given.model))
    if group.rank == 0:
        model.save(given.folder / "model")


if __name__ == "__main__":
    main()
