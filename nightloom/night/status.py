"""`nightloom status`: ops.stages and ops.gates -> the last nights, stage by stage: seconds, rows, gates, versions."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import click
from rich.markup import escape
from rich.table import Table as Grid

from nightloom.contracts import GATES, STAGES
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.terminal import iso, screen

SCORING, PUBLISH = "spark_jobs.gold_recommendations", "serving.publish"
COLOURS = {
    "published": "green",
    "ok": "green",
    "open": "green",
    "closed": "red",
    "failed": "red",
    "overridden": "yellow",
}

LATEST = """
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY night, stage ORDER BY started_at DESC) AS place,
           count(*) OVER (PARTITION BY night, stage) AS attempts
    FROM s WHERE night IN (SELECT DISTINCT night FROM s ORDER BY night DESC LIMIT {nights})
) WHERE place = 1 ORDER BY night DESC, started_at"""
"""The last attempt of each stage of the last nights, and how many there were."""

ASKED = """
SELECT g.* FROM g JOIN (SELECT night, gate, max(checked_at) AS last FROM g GROUP BY night, gate) l
    ON g.night = l.night AND g.gate = l.gate AND g.checked_at = l.last
ORDER BY g.checked_at, g.check"""
"""The checks of each gate, the last time that it was asked."""


@dataclass(frozen=True)
class Stage:
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
class Gate:
    """What a gate said last: open, closed or overridden; `failed` names what it did not like, warnings too."""

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
    stages: tuple[Stage, ...]
    gates: tuple[Gate, ...]


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


def last_nights(lake: Lake, nights: int) -> list[NightStatus]:
    """The newest nights of the run manifest, newest first; none when no stage ever ran."""
    if not lake.exists(STAGES):
        return []
    rows = lake.query(LATEST.format(nights=nights), ("s", lake.open(STAGES))).to_pylist()
    checks = lake.query(ASKED, ("g", lake.open(GATES))).to_pylist() if lake.exists(GATES) else []
    dates = list(dict.fromkeys(row["night"] for row in rows))
    return [_night(each, _of(each, rows), _of(each, checks)) for each in dates]


def _of(night: date, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["night"] == night]


def _night(night: date, rows: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]) -> NightStatus:
    facts = {row["stage"]: dict(row["facts"]) for row in rows}
    published = facts.get(PUBLISH, {})
    return NightStatus(
        night=night,
        status=_outcome({row["stage"]: row["status"] for row in rows}),
        wall_seconds=_wall(rows),
        work_seconds=sum(row["seconds"] for row in rows),
        model_version=published.get("model_version") or facts.get(SCORING, {}).get("model_version"),
        published_version=published.get("published_version"),
        stages=tuple(_stage(row) for row in rows),
        gates=tuple(_gate(gate, checks) for gate in dict.fromkeys(row["gate"] for row in checks)),
    )


def _stage(row: dict[str, Any]) -> Stage:
    same = ("stage", "status", "seconds", "attempts", "started_at", "run_id", "error")
    return Stage(rows=dict(row["rows"]), **{name: row[name] for name in same})


def _gate(gate: str, checks: Sequence[dict[str, Any]]) -> Gate:
    asked = [row for row in checks if row["gate"] == gate]
    failed = [row for row in asked if not row["passed"]]
    override = next((row["override"] for row in asked if row["override"]), None)
    stopped = any(row["severity"] == "stop" for row in failed)
    verdict = ("overridden" if override else "closed") if stopped else "open"
    told = tuple(f"{row['check']}: {row['observed']}, expected {row['expected']} ({row['severity']})" for row in failed)
    return Gate(gate, verdict, len(asked), told, override)


def _outcome(stages: dict[str, str]) -> str:
    """In one word: failed or closed when any stage's last attempt was, published, else unfinished."""
    worst = next((word for word in ("failed", "closed") if word in stages.values()), None)
    return worst or ("published" if stages.get(PUBLISH) == "ok" else "unfinished")


def _wall(rows: Sequence[dict[str, Any]]) -> float | None:
    """Seconds from the first start to the end of the publish, or to the last end where nothing was published."""
    if len({row["run_id"] for row in rows}) != 1:
        return None
    # `seconds` counts from the start of the process, `started_at` is some seconds later: about as long at either end.
    ends = {row["stage"]: row["started_at"] + timedelta(seconds=row["seconds"]) for row in rows}
    span = ends.get(PUBLISH, max(ends.values())) - min(row["started_at"] for row in rows)
    return float(span.total_seconds())


def _show(night: NightStatus) -> None:
    console = screen()
    took = f"{night.wall_seconds:.0f} s" if night.wall_seconds is not None else f"{night.work_seconds:.0f} s of work"
    made = [f"model {night.model_version}"] if night.model_version else []
    made += [f"serving version {night.published_version}"] if night.published_version else []
    console.print(f"[bold]{night.night}[/bold]  {_coloured(night.status)}  " + ", ".join([took, *made]))
    grid = Grid("stage", "seconds", "rows", "status", "tries")
    grid.columns[1].justify = grid.columns[4].justify = "right"
    for stage in night.stages:
        rows = ", ".join(f"{what} {count:,}" for what, count in stage.rows.items() if count)
        tries = str(stage.attempts) if stage.attempts > 1 else ""
        grid.add_row(stage.stage, f"{stage.seconds:.1f}", rows, _coloured(stage.status), tries)
    console.print(grid)
    for gate in night.gates:
        by = f", by {escape(gate.override)}" if gate.override else ""
        console.print(f"gate {gate.gate}: {_coloured(gate.verdict)}{by} ({gate.checks} checks)")
        for line in gate.failed:
            console.print(f"  {line}", markup=False)
    for stage in night.stages:
        if stage.status == "failed":
            console.print(f"{stage.stage} failed: {stage.error}", markup=False, style="red")
    console.print()


def _coloured(word: str) -> str:
    return f"[{COLOURS[word]}]{word}[/]" if word in COLOURS else word
