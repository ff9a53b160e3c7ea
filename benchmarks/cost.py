"""What `nightloom cost` predicts for two nights against what they take on this machine.

The two nights of benchmarks/scale.py, of a million users and 100,000 items by default: a first night over all events,
then one with 1 % new ones. Ends with exit code 1 where a night's prediction is off by more than 30 %. With --record the
nights are added to the rates that `nightloom cost` computes with, or replace those of the same size. Last line: JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.processors import processor
from benchmarks.scale import DAYS, NEW_SHARE, START, Size
from nightloom.cost import DRIVERS, GIB, RATES, Workload, predict, read_rates
from nightloom.night import stages
from nightloom.night.revision import code_revision
from nightloom.settings import CONFIG_VARIABLE, load

MOST_OFF = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("events", 10_000_000), ("users", 1_000_000), ("items", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep", type=Path, help="folder to work in, left there; default: a temporary one")
    parser.add_argument("--record", action="store_true", help="add the nights to nightloom/rates.json")
    options = parser.parse_args()
    code = code_revision()  # before --record changes a file
    size = Size(options.events, options.users, options.items)
    with tempfile.TemporaryDirectory() as scratch:
        measured = run_nights((options.keep or Path(scratch)).absolute(), size)
    workloads = first_night(size), second_night(size)
    pairs = zip(measured.items(), workloads, strict=True)
    off = {name: compare(name, night, workload) for (name, night), workload in pairs}
    if options.record:
        for night, workload in zip(measured.values(), workloads, strict=True):
            record(RATES, workload, night, "./run bench cost --record", code)
    print(json.dumps({"off": {name: round(share, 4) for name, share in off.items()}, "most": MOST_OFF}))
    sys.exit(any(abs(share) > MOST_OFF for share in off.values()))


def run_nights(folder: Path, size: Size) -> dict[str, scale.Night]:
    """Measure both nights in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nightloom.toml").write_text(scale.TOML, encoding="utf8")
    os.environ[CONFIG_VARIABLE] = str(folder / "nightloom.toml")
    settings, names = load(), [stage.name for stage in stages.NIGHT]
    scale.write_first_days(folder, size)
    full = scale.run_night(settings, START + timedelta(days=DAYS - 1), names)
    scale.write_last_day(folder, size)
    return {"full": full, "one_pct": scale.run_night(settings, START + timedelta(days=DAYS), names)}


def first_night(size: Size) -> Workload:
    """The first night of benchmarks/scale.py as `nightloom cost` counts it."""
    return Workload(size.users, size.items, size.events, size.events, size.users, size.items, size.users, trained=True)


def second_night(size: Size) -> Workload:
    """The second one."""
    active, events, items = (max(1, round(NEW_SHARE * each)) for each in (size.users, size.events, size.items))
    new_users = max(1, active // 10)
    return Workload(
        size.users + new_users,
        size.items + items,
        events,
        size.events + events,
        new_users,
        items,
        active,
        trained=False,
    )


def compare(name: str, night: scale.Night, workload: Workload) -> float:
    """Print predicted and measured seconds of each stage -> how far off the sum is, as a share of the measured one."""
    predicted = predict(read_rates(), workload)
    table = Table("stage", "predicted s", "measured s", "off", title=f"{name}: {workload.users:,} x {workload.items:,}")
    for column in table.columns[1:]:
        column.justify = "right"
    both = [stage for stage in DRIVERS if stage in night and stage in predicted]
    for stage in both:
        took = night[stage].seconds
        table.add_row(stage, f"{predicted[stage]:.1f}", f"{took:.1f}", f"{predicted[stage] / took - 1:+.0%}")
    sums = sum(predicted[stage] for stage in both), sum(night[stage].seconds for stage in both)
    table.add_row("sum", f"{sums[0]:.1f}", f"{sums[1]:.1f}", f"{sums[0] / sums[1] - 1:+.0%}")
    Console(width=100).print(table)
    return sums[0] / sums[1] - 1


def record(file: Path, workload: Workload, night: scale.Night, command: str, code: str) -> None:
    """Add a night, which the revision `code` took, to the rates; one of the same size is replaced."""
    rates = json.loads(file.read_text(encoding="utf8")) if file.exists() else {"nights": []}
    others = [each for each in rates["nights"] if each["night"] != asdict(workload)]
    memory = round(psutil.virtual_memory().total / GIB)
    by = {
        "processor": processor(), "cores": os.cpu_count(), "memory_gib": memory,
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": code, "command": command,
    }  # fmt: skip
    costs = {stage: scale.rounded(cost) for stage, cost in night.items()}
    file.write_text(as_text([*others, {"measured": by, "night": asdict(workload), "stages": costs}]), encoding="utf8")


def as_text(nights: Sequence[dict[str, Any]]) -> str:
    """The rates as JSON, a line for each stage."""
    parts = []
    for each in nights:
        rows = ",\n".join(f"    {json.dumps(stage)}: {json.dumps(cost)}" for stage, cost in each["stages"].items())
        head = ",\n".join(f'   "{key}": {json.dumps(each[key])}' for key in ("measured", "night"))
        parts.append(f'  {{\n{head},\n   "stages": {{\n{rows}\n   }}\n  }}')
    return '{\n "nights": [\n' + ",\n".join(parts) + "\n ]\n}\n"


if __name__ == "__main__":
    main()
