"""ops.stages and ops.gates -> what happened in a night, for the publish, the report, the console and explanations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from nightloom.contracts import GATES, STAGES
from nightloom.lake import Lake

GATE_NAMES = ("data", "model", "slate")


@dataclass(frozen=True)
class StageRun:
    """One row of ops.stages."""

    run_id: str
    night: date
    stage: str
    status: str
    started_at: datetime
    seconds: float
    reads: dict[str, int]
    writes: dict[str, int]
    rows: dict[str, int]
    facts: dict[str, str]
    code: str
    config: str
    error: str | None


@dataclass(frozen=True)
class Judgement:
    """A gate, asked once: all its checks."""

    gate: str
    night: date
    run_id: str
    checked_at: datetime
    override: str | None
    checks: tuple[dict[str, Any], ...]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Checks that close the gate."""
        return [check for check in self.checks if not check["passed"] and check["severity"] == "stop"]

    @property
    def warnings(self) -> list[dict[str, Any]]:
        return [check for check in self.checks if not check["passed"] and check["severity"] != "stop"]

    @property
    def state(self) -> str:
        """open, overridden or closed."""
        return "open" if not self.failed else "overridden" if self.override else "closed"


def stage_runs(lake: Lake, where: str = "true") -> list[StageRun]:
    """Attempts, oldest first; none when no stage ever ran. `where` is SQL over ops.stages."""
    if not lake.exists(STAGES):
        return []
    rows = sorted(lake.rows(STAGES, where).to_pylist(), key=lambda row: row["started_at"])
    maps = ("reads", "writes", "rows", "facts")
    return [StageRun(**(row | {name: dict(row[name]) for name in maps})) for row in rows]


def last_attempts(runs: Iterable[StageRun]) -> list[StageRun]:
    """Of each stage the last attempt, in order of their start."""
    return sorted({run.stage: run for run in runs}.values(), key=lambda run: run.started_at)


def nights(lake: Lake, limit: int) -> dict[date, list[StageRun]]:
    """The newest nights, newest first, each with the last attempt of its stages."""
    if not lake.exists(STAGES):
        return {}
    newest = f"SELECT DISTINCT night FROM t ORDER BY night DESC LIMIT {limit}"
    dates = lake.query(newest, ("t", lake.open(STAGES)))["night"].to_pylist()
    if not dates:
        return {}
    runs = stage_runs(lake, f"night >= DATE '{min(dates)}'")
    return {each: last_attempts(run for run in runs if run.night == each) for each in sorted(dates, reverse=True)}


def judgements(lake: Lake, where: str = "true") -> list[Judgement]:
    """Each time a gate was asked, oldest first."""
    if not lake.exists(GATES):
        return []
    rows = sorted(lake.rows(GATES, where).to_pylist(), key=asked)
    return [_judgement(tuple(checks)) for _, checks in groupby(rows, asked)]


def asked(row: dict[str, Any]) -> tuple[datetime, str]:
    """What all checks of one judgement share."""
    return row["checked_at"], row["gate"]


def _judgement(checks: tuple[dict[str, Any], ...]) -> Judgement:
    first = checks[0]
    return Judgement(first["gate"], first["night"], first["run_id"], first["checked_at"], first["override"], checks)


def gates(lake: Lake, night: date) -> dict[str, Judgement]:
    """The last judgement of each gate on a night; a gate that was not asked is not there."""
    return {each.gate: each for each in judgements(lake, f"night = DATE '{night}'")}


def with_gates(lake: Lake, night: date) -> dict[str, Judgement]:
    """The gates that the night's lists rest on: its own, and of a gate not asked that night the last one before."""
    found = {each.gate: each for each in judgements(lake, f"night <= DATE '{night}'") if each.night < night}
    return {name: judged for name in GATE_NAMES if (judged := (found | gates(lake, night)).get(name))}
