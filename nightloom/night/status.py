"""`nightloom status`: the run records -> the last nights, stage by stage: seconds, rows, gates, versions."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import click
from rich.markup import escape
from rich.table import Table as Grid

from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.night.records import Check, GateResult, StageRun, gate_results, last_attempts, newest_nights, outcome
from nightloom.settings import load
from nightloom.terminal import iso, screen

COLORS = {
    "published": "green",
    "ok": "green",
    "open": "green",
    "closed": "red",
    "failed": "red",
    "overridden": "yellow",
}


@dataclass(frozen=True)
class StageStatus:
    """A stage's last attempt; `attempts` counts the earlier ones too."""

    stage: str
    status: str
    seconds: float
    rows: dict[str, int]
    attempts: int
    started_at: datetime
    run_id: str
    error: str | None


@dataclass(frozen=True)
class GateStatus:
    """A gate's last verdict: open, closed or overridden; `failed` are the failed checks, warnings too."""

    gate: str
    verdict: str
    checks: int
    failed: tuple[str, ...]
    override: str | None


@dataclass(frozen=True)
class NightStatus:
    """One night. `wall_seconds` is None where its stages ran in more than one run."""

    night: date
    status: str
    wall_seconds: float | None
    work_seconds: float
    model_version: str | None
    published_version: str | None
    stages: tuple[StageStatus, ...]
    gates: tuple[GateStatus, ...]


@click.command()
@click.option("--nights", type=click.IntRange(min=1), default=3, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(nights: int, as_json: bool) -> None:
    """The last nights: where the seconds went, how many rows, what the gates said, which versions came out."""
    found = last_nights(Lake(load().place("lake")), nights)
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], default=iso, indent=1) + "\n")
    elif not found:
        click.echo("No night has run yet. `nightloom night --date YYYY-MM-DD` runs one.")
    for each in [] if as_json else found:
        _show(each)


def last_nights(lake: Lake, limit: int) -> list[NightStatus]:
    """The newest nights, newest first; none when no stage ever ran."""
    found = newest_nights(lake, limit).items()
    return [_night_status(night, runs, list(gate_results(lake, night).values())) for night, runs in found]


def _night_status(night: date, runs: Sequence[StageRun], gates: Sequence[GateResult]) -> NightStatus:
    attempts, last = Counter(run.stage for run in runs), last_attempts(runs)
    by_stage = {run.stage: run for run in last}
    published, scored = (by_stage.get(stage.name) for stage in (stages.PUBLISH, stages.RECOMMENDATIONS))
    return NightStatus(
        night=night,
        status=outcome(last),
        wall_seconds=_wall_seconds(last),
        work_seconds=sum(run.seconds for run in last),
        model_version=next((run.model_version for run in (published, scored) if run and run.model_version), None),
        published_version=published.tags.get("published_version") if published else None,
        stages=tuple(_stage_status(run, attempts[run.stage]) for run in last),
        gates=tuple(_gate_status(gate) for gate in gates),
    )


def _stage_status(run: StageRun, attempts: int) -> StageStatus:
    return StageStatus(run.stage, run.status, run.seconds, run.rows, attempts, run.started_at, run.run_id, run.error)


def _gate_status(result: GateResult) -> GateStatus:
    failed = tuple(_line(check) for check in result.checks if not check.passed)
    return GateStatus(result.gate, result.state, len(result.checks), failed, result.override)


def _line(check: Check) -> str:
    return f"{check.name}: {check.observed}, expected {check.expected} ({check.severity})"


def _wall_seconds(last: Sequence[StageRun]) -> float | None:
    """Seconds from the first start to the end of the publish, or to the last end where nothing was published."""
    if len({run.run_id for run in last}) != 1:
        return None
    # `seconds` counts from the start of the process, `started_at` is some seconds later: about as long at either end.
    ends = {run.stage: run.ended_at for run in last}
    end = ends.get(stages.PUBLISH.name, max(ends.values()))
    return float((end - min(run.started_at for run in last)).total_seconds())


def _show(night: NightStatus) -> None:
    console = screen()
    took = f"{night.wall_seconds:.0f} s" if night.wall_seconds is not None else f"{night.work_seconds:.0f} s of work"
    made = [f"model {night.model_version}"] if night.model_version else []
    made += [f"serving version {night.published_version}"] if night.published_version else []
    console.print(f"[bold]{night.night}[/bold]  {_colored(night.status)}  " + ", ".join([took, *made]))
    grid = Grid("stage", "seconds", "rows", "status", "tries")
    grid.columns[1].justify = grid.columns[4].justify = "right"
    for stage in night.stages:
        rows = ", ".join(f"{what} {count:,}" for what, count in stage.rows.items() if count)
        tries = str(stage.attempts) if stage.attempts > 1 else ""
        grid.add_row(stage.stage, f"{stage.seconds:.1f}", rows, _colored(stage.status), tries)
    console.print(grid)
    for gate in night.gates:
        by = f", by {escape(gate.override)}" if gate.override else ""
        console.print(f"gate {gate.gate}: {_colored(gate.verdict)}{by} ({gate.checks} checks)")
        for line in gate.failed:
            console.print(f"  {line}", markup=False)
    for stage in night.stages:
        if stage.status == "failed":
            console.print(f"{stage.stage} failed: {stage.error}", markup=False, style="red")
    console.print()


def _colored(word: str) -> str:
    return f"[{COLORS[word]}]{word}[/]" if word in COLORS else word
