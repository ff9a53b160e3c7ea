"""Bronze from many sources: the same landing files as one source, and as forty.

Each source's folder holds a file of each day. A night is `python -m spark_jobs.bronze` in a process of its own: the
first one takes one day's files, the next one another day's. Both projects take turns, in fresh folders, and end with
the same number of records. A figure is the least of its repeats: other work only adds to it. Last line: JSON with the
seconds of the night in which many sources cost more, and their ratio.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.processors import processor
from nightloom.contracts import BRONZE_EVENTS
from nightloom.lake import Lake
from nightloom.night import stages

DAYS = date(2025, 11, 27), date(2025, 11, 28)
NIGHTS = "the first", "the next"
HEAD = """
[project]
name = "bench"
[[signals]]
event = "view"
[[models]]
name = "popularity"
"""
SOURCE = """
[[sources]]
name = "{name}"
kind = "events"
path = "landing{folder}"
format = "json"
fields = {{ user_id = "string", item_id = "string", at = "timestamp" }}
columns = {{ user_id = "user_id", item_id = "item_id", event = "'view'", occurred_at = "at" }}
"""


def write_project(root: Path, folders: int, *, as_one: bool) -> Path:
    """A project of one source for all folders, or of a source for each -> its nightloom.toml."""
    given = [("all", "")] if as_one else [(f"feed_{n:02}", f"/feed_{n:02}") for n in range(folders)]
    for number in range(folders):
        (root / "landing" / f"feed_{number:02}").mkdir(parents=True)
    config = root / "nightloom.toml"
    config.write_text("".join([HEAD, *(SOURCE.format(name=name, folder=folder) for name, folder in given)]))
    return config


def land_day(root: Path, day: date, rows: int) -> None:
    """Leave a day's file in each folder, long enough ago that it counts as complete."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for number, folder in enumerate(sorted((root / "landing").iterdir())):
        moments = ((noon + timedelta(seconds=n)).isoformat() for n in range(rows))
        lines = (
            json.dumps({"user_id": f"user-{number}-{n % 997}", "item_id": f"item-{n % 499}", "at": at}) + "\n"
            for n, at in enumerate(moments)
        )
        file = folder / f"{day}.jsonl"
        file.write_text("".join(lines))
        os.utime(file, (noon.timestamp(), noon.timestamp()))


def run_bronze(config: Path, day: date) -> tuple[float, float]:
    """(Seconds, processor seconds) of the stage, its start included. Other work makes only the first ones longer."""
    start, before = time.perf_counter(), processor_seconds()
    command = [sys.executable, "-m", stages.BRONZE.name, "--date", str(day), "--config", str(config)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, processor_seconds() - before


def processor_seconds() -> float:
    """What all ended child processes took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_nights(folder: Path, folders: int, rows: int, *, as_one: bool) -> list[tuple[float, float]]:
    """run_bronze() of each night; checks that bronze has all records."""
    config, seconds = write_project(folder, folders, as_one=as_one), []
    for number, day in enumerate(DAYS, start=1):
        land_day(folder, day, rows)
        seconds.append(run_bronze(config, day))
        there = Lake(folder / "data" / "lake").open(BRONZE_EVENTS).to_pyarrow_dataset().count_rows()
        assert there == number * folders * rows, f"bronze has {there} records of {number * folders * rows}"
    return seconds


def main() -> None:
    """Measure, print a table and the machine, and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=40)
    parser.add_argument("--rows", type=int, default=1_000, help="records of a file")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    taken: dict[bool, list[list[tuple[float, float]]]] = {True: [], False: []}
    for number in range(given.repeats):
        for as_one in (True, False) if number % 2 else (False, True):
            with tempfile.TemporaryDirectory() as folder:
                taken[as_one].append(run_nights(Path(folder), given.sources, given.rows, as_one=as_one))
    one, many = (np.min(np.array(taken[as_one]), axis=0) for as_one in (True, False))
    title = f"{given.sources * given.rows:,} new records a night; {given.sources} sources against one"
    table = Table("night", "one, s", "many, s", "ratio", "processor s: one", "many", "ratio", title=title)
    for night, *seconds in zip(NIGHTS, one, many, strict=True):
        (wall, cpu), (wall_of_many, cpu_of_many) = seconds
        figures = wall, wall_of_many, wall_of_many / wall, cpu, cpu_of_many, cpu_of_many / cpu
        table.add_row(night, *(f"{figure:.2f}" for figure in figures))
    Console(width=120).print(table)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("deltalake", "pyarrow"))
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    worst = max(range(len(NIGHTS)), key=lambda night: many[night, 0] / one[night, 0])
    found = {"one_s": one[worst, 0], "forty_s": many[worst, 0], "ratio": many[worst, 0] / one[worst, 0]}
    print(json.dumps({name: round(float(value), 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()
