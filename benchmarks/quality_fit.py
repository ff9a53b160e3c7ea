"""Train one candidate: in this process, or by Horovod on several ranks of this machine if the model can."""

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


def fit(name: str, params: dict[str, Any], examples: Examples, ranks: int, folder: Path) -> Model:
    """Train one model; `folder` holds the files that are exchanged with the ranks."""
    if not models.definition(name).distributed:
        return trainers.fit(name, examples, params, epoch_printer(name))
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
    if code := subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(f"quality: {name} did not train: exit code {code} of {' '.join(command)}; its own message is above")
    return models.load(folder / "model")


def epoch_printer(name: str) -> Any:
    """A report callback that prints each epoch."""

    def report(epoch: int, figures: dict[str, float]) -> None:
        print(
            f"{name}: epoch {epoch}, " + ", ".join(f"{key} {value:.5g}" for key, value in figures.items()), flush=True
        )

    return report


def main() -> None:
    """Run one rank of the training that fit() started."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--params", type=json.loads, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    group = distributed.group()
    with np.load(options.folder / "examples.npz") as arrays:
        likes = Histories(arrays["indptr"], arrays["items"], arrays["weights"], arrays["times"])
        own = likes.of(np.arange(group.rank, len(likes), group.size))
        examples = Examples(arrays["item_ids"], own, int(arrays["cut"]), int(arrays["seed"]))
    model = trainers.fit(options.model, examples, options.params, epoch_printer(options.model))
    if group.rank == 0:
        model.save(options.folder / "model")


if __name__ == "__main__":
    main()
