"""Training throughput by number of Horovod ranks: the sequence model on a synthetic table, equal work for each rank.

Everything is as in production: a Delta table, `python -m training.fit` under horovodrun, each rank reading its shard.
Seconds of launch and reading are printed apart from the epochs. Efficiency is the throughput over that of one rank
times the ranks. Figures are medians over the rounds; each round trains on every number of ranks. Last line: JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.likes import LIKES_PER_USER, write_likes
from nightloom import settings as settings_module
from nightloom.contracts import INTERACTIONS
from nightloom.settings import Settings
from training import distributed, fit

PROJECT = """
[project]
name = "ranks"

[[sources]]
name = "events"
kind = "events"
path = "landing"
format = "json"
fields = {{ user = "string", item = "string", at = "timestamp" }}
columns = {{ user_id = "user", item_id = "item", event = "'like'", occurred_at = "at" }}

[[signals]]
event = "like"

[[models]]
name = "sequence"
params = {{ epochs = {epochs}, batch = {batch}, length = 50 }}
"""
EPOCHS = 3  # the first warms up, the others count


@dataclass(frozen=True)
class Run:
    """Throughput of one training."""

    ranks: int
    users_per_second: float
    other_seconds: float
    """Launch, reading and the first epoch."""


def run_training(settings: Settings, version: int, ranks: int, threads: int) -> Run:
    """Train on `ranks` ranks of this machine, each with `threads` threads."""
    folder, start = Path(tempfile.mkdtemp(dir=settings.root)), time.monotonic()
    command = distributed.command(
        ranks, "training.fit", "--config", str(settings.file), "--date", "2026-03-01",
        "--model", "sequence", "--version", str(version), "--folder", str(folder),
    )  # fmt: skip
    environment = distributed.environment(ranks, settings.training) | {"OMP_NUM_THREADS": str(threads)}
    # Not in benchmarks/, where this file would shadow the library.
    result = subprocess.run(
        command, env=os.environ | environment, cwd=settings.root, stdout=subprocess.DEVNULL, check=False
    )
    if result.returncode:
        sys.exit(f"horovod: {ranks} ranks did not train: exit code {result.returncode} of {' '.join(command)}")
    fitted, total = fit.read(folder), time.monotonic() - start
    ends = [epoch["seconds"] for epoch in fitted.curve]
    epochs = [end - start for start, end in pairwise(ends)]
    return Run(ranks, fitted.users / statistics.median(epochs), total - sum(epochs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ranks", default="1,2", help="numbers of ranks, separated by commas; the first is the one to compare with"
    )
    for name, default in (("users", 5_000), ("items", 5_000), ("batch", 64), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    numbers = [int(ranks) for ranks in options.ranks.split(",")]
    cores = os.cpu_count() or 1
    threads = max(1, cores // max(numbers))
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "nightloom.toml"
        lake = write_likes(Path(root) / "data" / "lake", options.users * LIKES_PER_USER, options.items)
        version, runs = lake.version(INTERACTIONS), list[Run]()
        for ranks in numbers * options.rounds:
            file.write_text(PROJECT.format(epochs=EPOCHS, batch=options.batch * ranks))
            runs.append(run_training(settings_module.load(file), version, ranks, threads))
    by_ranks = {ranks: [each for each in runs if each.ranks == ranks] for ranks in numbers}
    speed = {ranks: statistics.median(each.users_per_second for each in by_ranks[ranks]) for ranks in numbers}
    efficiency = {ranks: speed[ranks] / ranks / (speed[numbers[0]] / numbers[0]) for ranks in numbers}
    per_rank = f"{options.batch} users per step, {threads} threads per rank"
    table = Table(
        "ranks", "users per second", "efficiency", "launch, reading, first epoch (s)",
        title=f"{options.users:,} users, {options.items:,} items; {per_rank}",
    )  # fmt: skip
    for ranks in numbers:
        other = statistics.median(each.other_seconds for each in by_ranks[ranks])
        table.add_row(str(ranks), f"{speed[ranks]:,.0f}", f"{efficiency[ranks]:.0%}", f"{other:.1f}")
    Console().print(table)
    rounded = {str(ranks): round(each, 1) for ranks, each in speed.items()}
    print(json.dumps({"users_per_second": rounded, "efficiency": round(efficiency[numbers[-1]], 3), "cores": cores}))


if __name__ == "__main__":
    main()
