"""The night: what a stage is given (date, settings, lake, run id), what it leaves in ops.stages, the run manifest.

A stage's file ends with `run_stage(NAME, body)`: arguments, timing, lineage, errors and exit code are this frame's,
so that no stage writes lineage by hand and none can forget to.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from nightloom import settings as settings_module
from nightloom.contracts import GATES, STAGES, Table
from nightloom.errors import EXIT_SKIP, ConcurrentRunError, GateClosedError, NightloomError
from nightloom.lake import Lake, now
from nightloom.settings import Settings

RUN_VARIABLE = "NIGHTLOOM_RUN_ID"
TRIES_BESIDE_ANOTHER_RUN = 5


@dataclass
class Night:
    """One stage's run on one logical date."""

    date: date
    settings: Settings
    run_id: str
    stage: str
    reads: dict[str, int] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.place("lake"))

    @property
    def end(self) -> datetime:
        """First moment after the date, UTC: a stage reads what is before it."""
        return end_of(self.date)

    def pin(self, table: Table) -> int:
        """Newest version of a table, noted as read: every later read of this stage uses it."""
        if table.full_name not in self.reads:
            self.reads[table.full_name] = self.lake.version(table)
        return self.reads[table.full_name]

    def wrote(self, table: Table, rows: int | None = None) -> None:
        """Note the version just written, and the rows."""
        self.writes[table.full_name] = self.lake.version(table)
        if rows is not None:
            self.counts[table.full_name] = rows

    def skip(self, why: str) -> None:
        """End the stage with Airflow's skip code: there is nothing to do."""
        raise NothingToDo(why)


def end_of(night: date) -> datetime:
    """First moment after a date, UTC."""
    return datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(days=1)


class NothingToDo(NightloomError):  # not an error to a person: the stage says why and is marked skipped
    exit_code = EXIT_SKIP


@dataclass(frozen=True)
class Check:
    """One check of a gate: a row of ops.gates."""

    name: str
    passed: bool
    observed: str
    expected: str
    severity: str = "stop"


def judge(night: Night, gate: str, checks: Sequence[Check]) -> None:
    """Write the checks down; raise GateClosedError when one with severity `stop` failed and nobody overrode it.

    The override is `--override "WHO: WHY"`, kept beside each check.
    """
    override = getattr(night.arguments, "override", None)
    stamp = {"run_id": night.run_id, "night": night.date, "gate": gate, "checked_at": now(), "override": override}
    fields = [
        {"check": c.name, "passed": c.passed, "observed": c.observed, "expected": c.expected, "severity": c.severity}
        for c in checks
    ]
    night.lake.append(GATES, [stamp | row for row in fields])
    night.wrote(GATES)
    failed = [check for check in checks if not check.passed]
    for check in failed:
        print(
            f"{gate} gate, {check.severity}: {check.name}: found {check.observed}, expected {check.expected}",
            file=sys.stderr,
        )
    stops = [check for check in failed if check.severity == "stop"]
    if stops and not override:
        why = "; ".join(f"{check.name} is {check.observed}, expected {check.expected}" for check in stops)
        raise GateClosedError(f"{gate} gate closed for {night.date}: {why}. Yesterday's lists stay.")


def run_stage(
    name: str,
    body: Callable[[Any], None],
    *,
    frame: Callable[..., Any] = Night,
    options: Mapping[str, dict[str, Any]] | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Run a stage as a command: `--date D [--config FILE]`, then exit with a true code.

    `frame` makes the night object (spark_jobs gives one that reads and writes DataFrames); `options` are further
    arguments, flag -> argparse keywords, found again in `night.arguments`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=body.__doc__)
    parser.add_argument("--date", type=date.fromisoformat, required=True, help="logical date of the night, YYYY-MM-DD")
    parser.add_argument("--config", type=Path, help="nightloom.toml; default $NIGHTLOOM_CONFIG or the working folder's")
    for flag, keywords in (options or {}).items():
        parser.add_argument(flag, **keywords)
    arguments = parser.parse_args(argv)
    try:
        settings = settings_module.load(arguments.config)
        run_id = os.environ.get(RUN_VARIABLE) or f"hand-{now():%Y%m%dT%H%M%S}"
        night = frame(date=arguments.date, settings=settings, run_id=run_id, stage=name, arguments=arguments)
        _recorded(night, body)
    except NightloomError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _recorded(night: Night, body: Callable[[Any], None]) -> None:
    """Run the body; leave one row in ops.stages whatever happens, except when there was nothing to do."""
    started, status, error = now(), "failed", "interrupted"
    try:
        _until_alone(night, body)
        status, error = "ok", ""
    except NothingToDo as nothing:
        status, error = "skipped", str(nothing)
        raise
    except GateClosedError as closed:
        status, error = "closed", str(closed)
        raise
    except BaseException as failure:
        error = f"{type(failure).__name__}: {failure}"[:2000]
        raise
    finally:
        night.lake.append(STAGES, [_row(night, started, status, error)])
    print(f"{night.stage} {night.date}: " + ", ".join(f"{what} {rows:,}" for what, rows in night.counts.items()))


def _until_alone(night: Night, body: Callable[[Any], None]) -> None:
    """Run the body; from its start again where another run wrote first, whose rows it then finds there."""
    for left in reversed(range(TRIES_BESIDE_ANOTHER_RUN)):
        try:
            return body(night)
        except ConcurrentRunError as error:
            if not left:
                raise
            print(f"{night.stage}: {error} Starting again.", file=sys.stderr)
            for noted in (night.reads, night.writes, night.counts, night.facts):
                noted.clear()
            time.sleep(random.uniform(0.5, 2))


def _row(night: Night, started: datetime, status: str, error: str) -> dict[str, Any]:
    # Process start and not the body's: a night's time is mostly interpreters that start.
    seconds = time.time() - _process_start()
    return {
        "run_id": night.run_id, "night": night.date, "stage": night.stage, "status": status, "started_at": started,
        "seconds": seconds, "reads": _pairs(night.reads), "writes": _pairs(night.writes), "rows": _pairs(night.counts),
        "facts": _pairs(night.facts), "code": code_revision(), "config": night.settings.digest, "error": error or None,
    }  # fmt: skip


def _pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A mapping as Arrow wants a map value."""
    return list(mapping.items())


def _process_start() -> float:
    """Unix time at which this process started (Linux: the start tick in /proc, else the clock of the import)."""
    return _IMPORTED if not Path("/proc/self/stat").exists() else _linux_start()


def _linux_start() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


_IMPORTED = time.time()


def code_revision() -> str:
    """Git revision of the code (`+`: changed since; `unknown`: no checkout), or $NIGHTLOOM_REVISION in an image."""
    if revision := os.environ.get("NIGHTLOOM_REVISION"):
        return revision
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
