"""training.train: silver.interactions at one pinned version -> one challenger per model of nightloom.toml, in MLflow.

Nobody trains on the last `training.holdout_days` days up to the night: gate 2 judges on them. Models that train on many
ranks run in processes of their own (horovodrun), while the others are trained here.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import training
from nightloom.errors import NightloomError, SettingsError
from nightloom.manifest import Night, run_stage
from nightloom.settings import ModelSpec
from nightloom.tables import INTERACTIONS
from training import distributed, fit, record, registry, search
from training.examples import rows_before
from training.models import KINDS


class TrainingError(NightloomError):
    """A training process ended badly."""


def main(night: Night) -> None:
    """Train the models of nightloom.toml (or --model NAME) on what happened before the holdout; register each."""
    if night.arguments.when == "first" and (champion := registry.champion(night.settings)):
        night.skip(f"version {champion.version} ({champion.name}) is champion; training.due says when to retrain")
    specs = chosen(night.settings.models, night.arguments.model)
    version = night.pin(INTERACTIONS)
    # Every model that can be promoted is kept with the rows there were, for training.due to see how much is new.
    rows = rows_before(night.lake, version, night.end)
    task = fit.task_of(night, version)
    specs = search.searched(night, task, specs)
    with tempfile.TemporaryDirectory(prefix="nightloom-training-") as scratch, ThreadPoolExecutor(1) as beside:
        apart = [
            beside.submit(on_ranks, night, version, spec, Path(scratch) / spec.name)
            for spec in specs if KINDS[spec.name].distributed
        ]  # fmt: skip
        here = (fit.fit(task, spec, Path(scratch) / spec.name) for spec in specs if not KINDS[spec.name].distributed)
        versions = {one.name: record.record(night, task, one, rows) for one in here}
        versions |= {one.name: record.record(night, task, one, rows) for one in (each.result() for each in apart)}
    night.facts["model_versions"] = ",".join(versions.values())
    night.facts["models"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    night.counts |= {"models": len(versions), "interactions": rows}


def chosen(specs: Sequence[ModelSpec], name: str | None) -> list[ModelSpec]:
    """The models to train. Raises SettingsError for one that is not declared, or that nobody wrote."""
    for spec in specs:
        if spec.name not in KINDS:
            raise SettingsError(f"models: no model is called '{spec.name}'; there are {', '.join(sorted(KINDS))}")
    found = [spec for spec in specs if name in (None, spec.name)]
    if not found:
        raise SettingsError(f"--model {name}: nightloom.toml declares {', '.join(spec.name for spec in specs)}")
    return found


def on_ranks(night: Night, version: int, spec: ModelSpec, folder: Path) -> fit.Fitted:
    """Train one model in processes of its own, on as many ranks as configured. Raises TrainingError."""
    folder.mkdir()
    ranks = night.settings.training.ranks or distributed.default_ranks()
    command = distributed.command(
        ranks, "training.fit", "--config", str(night.settings.file), "--date", str(night.date),
        "--model", spec.name, "--params", json.dumps(spec.params), "--version", str(version), "--folder", str(folder),
    )  # fmt: skip
    threads = max(1, (os.cpu_count() or 1) // ranks)
    source = str(Path(training.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": source}
    print(f"{spec.name}: {ranks} ranks, {threads} threads each", flush=True)
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        raise TrainingError(
            f"{spec.name} did not train: exit code {done.returncode} of {' '.join(command)}; its own message is above"
        )
    return fit.read(folder)


OPTIONS: dict[str, dict[str, Any]] = {
    "--when": {"choices": ["always", "first"], "default": "always", "help": "first: only while there is no champion"},
    "--model": {"help": "train this one only"},
}

if __name__ == "__main__":
    run_stage("training.train", main, options=OPTIONS)
