"""Where the seconds of the sample's first night go, against the code of an earlier commit; and those of a set-up.

`nightloom demo` runs in a new folder, `--rounds` times with each code, in turn: the working tree's, and a worktree of
`--before` with its own nightloom.toml. Both use this environment, which must have the packages of both. A night's
seconds are from the trigger to the published lists; those of the marts, from there to the end of their check. A
stage's are those of its record. The set-up runs once, in a worktree of HEAD with an empty cache: it downloads all
packages. System packages that are installed stay so. Medians; the last line is JSON, with `vs_before`, our seconds over
the commit's.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from benchmarks.processors import processor
from nightloom.lake import Lake
from nightloom.night import records, stages
from nightloom.settings import CONFIG_VARIABLE, load

CHECKOUT = Path(__file__).parents[1]
BEFORE = "68e1091e"
"""The last commit whose champion is not trained again on all days."""
LOCK = "requirements.lock"
MAIN = "from nightloom.cli import main; main()"
PUBLISHED = re.compile(r"From trigger to published: (\d+) s")
AFTER_PUBLISH = (stages.MARTS.name, stages.MARTS_CHECK.name)
Steps: TypeAlias = dict[str, float]
"""Step of the set-up -> seconds."""


@dataclass(frozen=True)
class Night:
    """Seconds of one night."""

    published: float
    marts: float
    stages: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="nights with each code")
    parser.add_argument("--before", default=BEFORE, help="commit to compare with")
    parser.add_argument("--no-setup", action="store_true", help="run no set-up, which takes minutes and 3 GB")
    options = parser.parse_args()
    with worktree(options.before) as before:
        if missing := packages(before) - packages(CHECKOUT):
            raise SystemExit(f"{options.before} needs an environment of its own, with {', '.join(sorted(missing))}")
        rounds = [(run_night(before), run_night(CHECKOUT)) for _ in range(options.rounds)]
    earlier, ours = zip(*rounds, strict=True)
    print_stages(options.before, earlier, ours)
    setup = None if options.no_setup else run_setup()
    if setup is not None:
        print_setup(setup[1])
    night, night_before = (statistics.median(each.published for each in nights) for nights in (ours, earlier))
    figures = {
        "night_s": night,
        "marts_s": round(statistics.median(each.marts for each in ours), 1),
        "setup_s": None if setup is None else round(setup[0], 1),
        "vs_before": round(night / night_before, 3),
        "processor": processor(),
    }
    print(json.dumps(figures))


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """A folder with the files of a revision."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "checkout"
        git = ["git", "-C", str(CHECKOUT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def packages(checkout: Path) -> set[str]:
    """The packages of a checkout's lock, as NAME==VERSION."""
    return set(re.findall(r"^[\w.-]+==[^\s;]+", (checkout / LOCK).read_text(encoding="utf8"), re.M))


def run_night(checkout: Path) -> Night:
    """The sample's first night in a new folder, by the code of a checkout. Raises SystemExit if it is not published."""
    with tempfile.TemporaryDirectory() as parent:
        config = Path(parent) / "nightloom.toml"
        config.write_text((checkout / "nightloom.toml").read_text(encoding="utf8"), encoding="utf8")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("NIGHTLOOM_", "AIRFLOW"))
        }
        environment = inherited | {CONFIG_VARIABLE: str(config), "PYTHONPATH": str(checkout)}
        command = [sys.executable, "-c", MAIN, "demo"]
        done = subprocess.run(command, cwd=parent, env=environment, capture_output=True, text=True, check=False)
        found = PUBLISHED.search(done.stdout)
        if done.returncode or found is None:
            raise SystemExit(f"the night of {checkout} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        runs = {run.stage: run for run in records.stage_runs(Lake(load(config).place("lake")))}
    published = runs[stages.PUBLISH.name].ended_at
    marts = max(runs[name].ended_at for name in AFTER_PUBLISH) - published
    return Night(float(found[1]), marts.total_seconds(), {name: run.seconds for name, run in runs.items()})


def run_setup() -> tuple[float, Steps]:
    """Seconds of a set-up in a new checkout with an empty cache, and of its steps."""
    with worktree("HEAD") as checkout, tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"XDG_CACHE_HOME": cache, "PIP_NO_CACHE_DIR": "1"}
        began = time.monotonic()
        done = subprocess.run(
            [checkout / "run", "setup"], env=environment, stderr=subprocess.PIPE, text=True, check=False
        )
        seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"the set-up ended with {done.returncode}:\n{done.stderr}")
    return seconds, {name: float(number) for name, number in re.findall(r"^  (\S+) +([\d.]+) s$", done.stderr, re.M)}


def print_stages(revision: str, earlier: Sequence[Night], ours: Sequence[Night]) -> None:
    """Print a row per stage: median seconds with both codes."""
    rows = {stage.name: [[each.stages.get(stage.name, 0.0) for each in nights] for nights in (earlier, ours)]
            for stage in stages.NIGHT}  # fmt: skip
    rows["trigger to published"] = [[each.published for each in nights] for nights in (earlier, ours)]
    rows["published to marts"] = [[each.marts for each in nights] for nights in (earlier, ours)]
    title = f"the sample's first night, medians of {len(ours)}: {processor()}, {os.cpu_count()} cores"
    table = Table("stage", f"{revision}, s", "now, s", "ratio", title=title)
    for name, seconds in rows.items():
        then, now = (statistics.median(each) for each in seconds)
        table.add_row(name, f"{then:.1f}", f"{now:.1f}", f"{now / then:.2f}" if then else "")
    Console(width=100).print(table)


def print_setup(steps: Steps) -> None:
    """Print a row per step of the set-up; the seconds of steps side by side add up to more than the whole."""
    table = Table("step", "seconds", title="set-up, empty cache")
    for name, seconds in steps.items():
        table.add_row(name, f"{seconds:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
