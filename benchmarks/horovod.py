"""Training throughput by Horovod ranks: the sequence model on one synthetic table, the same threads for each rank.

The whole way is real: a Delta table, `python -m training.fit` under horovodrun, each rank reading its share. Launch and
reading are told beside the epochs. Efficiency is throughput over ranks times one rank's. Last line: JSON.
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

from benchmarks.likes import LIKES_A_USER, make
from nightloom import settings as settings_module
from nightloom.settings import Settings
from nightloom.tables import INTERACTIONS
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
EPOCHS = 4  # the first one warms up, the others count


@dataclass(frozen=True)
class Run:
    """A training on so many ranks."""

    ranks: int
    users_a_second: float
    other_seconds: float
    """Launch, reading and the first epoch."""
    loss: float


def run(settings: Settings, version: int, ranks: int, threads: int) -> Run:
    """Train on so many ranks of this machine."""
    folder, began = settings.root / f"ranks-{ranks}", time.monotonic()
    command = distributed.command(
        ranks, "training.fit", "--config", str(settings.file), "--date", "2026-03-01",
        "--model", "sequence", "--version", str(version), "--folder", str(folder),
    )  # fmt: skip
    environment = distributed.environment(ranks, settings.training) | {"OMP_NUM_THREADS": str(threads)}
    # Not in benchmarks/, where this file would stand in the library's way.
    done = subprocess.run(
        command, env=os.environ | environment, cwd=settings.root, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(f"horovod: {ranks} ranks did not train: exit code {done.returncode} of {' '.join(command)}")
    fitted, whole = fit.read(folder), time.monotonic() - began
    ends = [one["seconds"] for one in fitted.curve]
    epochs = [later - sooner for sooner, later in pairwise(ends)]
    return Run(ranks, fitted.users / statistics.median(epochs), whole - sum(epochs), fitted.curve[-1]["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", default="1,2", help="numbers of ranks, comma between")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--batch", type=int, default=128, help="users a step, over all ranks")
    given = parser.parse_args()
    numbers = [int(ranks) for ranks in given.ranks.split(",")]
    cores = os.cpu_count() or 1
    threads = max(1, cores // max(numbers))
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "nightloom.toml"
        file.write_text(PROJECT.format(epochs=EPOCHS, batch=given.batch))
        settings = settings_module.load(file)
        lake = make(settings.place("lake"), given.users * LIKES_A_USER, given.items)
        runs = [run(settings, lake.version(INTERACTIONS), ranks, threads) for ranks in numbers]
    one = runs[0].users_a_second / runs[0].ranks
    table = Table(
        "ranks", "users a second", "efficiency", "last loss", "launch, reading, first epoch (s)",
        title=f"{given.users:,} users, {given.items:,} items, {threads} thread a rank, {cores} cores",
    )  # fmt: skip
    for each in runs:
        efficiency = each.users_a_second / each.ranks / one
        row = (f"{each.users_a_second:,.0f}", f"{efficiency:.0%}", f"{each.loss:.4f}", f"{each.other_seconds:.1f}")
        table.add_row(str(each.ranks), *row)
    Console().print(table)
    found = {
        "users_per_second": {str(each.ranks): round(each.users_a_second, 1) for each in runs},
        "efficiency": round(runs[-1].users_a_second / runs[-1].ranks / one, 3),
        "cores": cores,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
