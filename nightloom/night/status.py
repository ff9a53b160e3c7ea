"""The run records -> the last nights, stage by stage: seconds, rows, gates, versions. Runs of other DAGs are apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rich.table import Table as Grid
from rich.text import Text

from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.night.records import (
    NIGHTLY,
    Check,
    GateResult,
    StageRun,
    gate_results,
    last_attempts,
    last_publish,
    newest_nights,
    outcome,
    runs_by_dag,
)
from nightloom.terminal import screen

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
    other_dags: dict[str, tuple[StageStatus, ...]]
    """DAG -> its stages on the night's date: a retraining, the maintenance, a backfill."""


def last_nights(lake: Lake, limit: int, served: Mapping[date, str]) -> list[NightStatus]:
    """The newest nights, newest first; none when no stage ever ran.

    `served` are the nights of which the store has a version that is or was served, each with the newest such version.
    """
    found = newest_nights(lake, limit).items()
    return [
        _night_status(night, runs, list(gate_results(lake, night).values()), served.get(night)) for night, runs in found
    ]


def _night_status(
    night: date, runs: Sequence[StageRun], gates: Sequence[GateResult], version: str | None
) -> NightStatus:
    by_dag = runs_by_dag(runs)
    own = by_dag.pop(NIGHTLY)
    last, publish = last_attempts(own), last_publish(runs)
    scored = next((run for run in last if run.stage == stages.RECOMMENDATIONS.name), None)
    return NightStatus(
        night=night,
        status=outcome(runs, served=version is not None),
        wall_seconds=_wall_seconds(own, publish),
        work_seconds=sum(run.seconds for run in last),
        model_version=next((run.model_version for run in (publish, scored) if run and run.model_version), None),
        published_version=version or (publish.tags.get("published_version") if publish else None),
        stages=_stage_statuses(own),
        gates=tuple(_gate_status(gate) for gate in gates),
        other_dags={dag: _stage_statuses(others) for dag, others in by_dag.items()},
    )


def _stage_statuses(runs: Sequence[StageRun]) -> tuple[StageStatus, ...]:
    attempts = Counter(run.stage for run in runs)
    return tuple(_stage_status(run, attempts[run.stage]) for run in last_attempts(runs))


def _stage_status(run: StageRun, attempts: int) -> StageStatus:
    return StageStatus(run.stage, run.status, run.seconds, run.rows, attempts, run.started_at, run.run_id, run.error)


def _gate_status(result: GateResult) -> GateStatus:
    failed = tuple(_line(check) for check in result.checks if not check.passed)
    return GateStatus(result.gate, result.state, len(result.checks), failed, result.override)


def _line(check: Check) -> str:
    return f"{check.name}: {check.observed}, expected {check.expected} ({check.severity})"


def _wall_seconds(own: Sequence[StageRun], publish: StageRun | None) -> float | None:
    """Seconds from the first start to the end of the publish, or to the last end where nothing was published."""
    last = last_attempts(run for run in own if publish is None or run.started_at <= publish.started_at)
    if len({run.run_id for run in last}) != 1:
        return None
    # `seconds` counts from the start of the process, `started_at` is some seconds later: about as long at either end.
    end = publish.ended_at if publish else max(run.ended_at for run in last)
    return float((end - min(run.started_at for run in last)).total_seconds())


def show(night: NightStatus) -> None:
    """Print one night."""
    console = screen()
    took = f"{night.wall_seconds:.0f} s" if night.wall_seconds is not None else f"{night.work_seconds:.0f} s of work"
    made = [f"model {night.model_version}"] if night.model_version else []
    if night.published_version:
        made += [f"serving version {night.published_version}", *([] if made else ["no model: popular lists alone"])]
    console.print(
        Text.assemble((str(night.night), "bold"), "  ", _colored(night.status), "  ", ", ".join([took, *made]))
    )
    console.print(_grid(night.stages))
    for gate in night.gates:
        by = f", by {gate.override}" if gate.override else ""
        console.print(Text.assemble(f"gate {gate.gate}: ", _colored(gate.verdict), f"{by} ({gate.checks} checks)"))
        for line in gate.failed:
            console.print(f"  {line}")
    _show_errors(night.stages)
    for dag, found in night.other_dags.items():
        console.print(f"Also for {night.night}: {dag}")
        console.print(_grid(found))
        _show_errors(found)
    console.print()


def _grid(found: Sequence[StageStatus]) -> Grid:
    grid = Grid("stage", "seconds", "rows", "status", "tries")
    grid.columns[1].justify = grid.columns[4].justify = "right"
    for stage in found:
        rows = ", ".join(f"{what} {count:,}" for what, count in stage.rows.items() if count)
        tries = str(stage.attempts) if stage.attempts > 1 else ""
        grid.add_row(stage.stage, f"{stage.seconds:.1f}", rows, _colored(stage.status), tries)
    return grid


def _show_errors(found: Sequence[StageStatus]) -> None:
    for stage in found:
        if stage.status == "failed":
            screen().print(f"{stage.stage} failed: {stage.error}", style="red")


def _colored(word: str) -> Text:
    return Text(word, COLORS.get(word, ""))
