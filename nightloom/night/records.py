"""The run records: the one writer and the one reader of ops.stages (runs of stages) and ops.gates (checks of gates).

A *successful* run ended with status `ok`. The *last attempt* of a stage is the run that started last, whatever its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from nightloom.contracts import GATES, STAGES, Table
from nightloom.literals import one_of
from nightloom.night import stages
from nightloom.night.stages import Stage

if TYPE_CHECKING:
    from nightloom.lake import Lake

Status = Literal["ok", "skipped", "closed", "failed"]
OK: tuple[Status, ...] = ("ok",)
ADDED_ITEMS: tuple[Status, ...] = ("skipped",)
"""How a training ends that was not due; its tags name the version that took new items, where there is one."""
BACKFILL_PREFIX = "backfill__"
"""How Airflow begins the run id of a backfill."""
NIGHTLY = "nightly"
"""The DAG whose runs, with stages that are run by hand, are the nights; runs of other DAGs are shown apart."""
DAG_TAG = "dag"
OTHER_DAGS = {stages.TRAINING_DUE.name: "retraining", stages.MAINTENANCE.name: "maintenance"}
"""Stages of no night -> their DAG, for rows without the tag."""
BEFORE_READERS = tuple(stage.name for stage in stages.NIGHT[: stages.NIGHT.index(stages.PUBLISH) + 1])
"""The stages up to the publish: a failure of one of them keeps the lists from the readers."""
State = Literal["published", "closed", "failed", "unfinished", "not run"]
RECORDS = (STAGES, GATES)
"""The tables of the records."""
MAPS = ("reads", "writes", "rows", "tags")


@dataclass(frozen=True)
class StageRun:
    """One run of a stage: a row of ops.stages."""

    run_id: str
    night: date
    stage: str
    status: Status
    started_at: datetime
    seconds: float
    """From the start of the process, some seconds before `started_at`."""
    reads: dict[str, int]
    writes: dict[str, int]
    rows: dict[str, int]
    tags: dict[str, str]
    code: str
    config: str
    error: str | None
    peak_memory_bytes: int | None = None
    """Of its largest process, without Spark's server; None in rows of an earlier Nightloom."""

    @property
    def ended_at(self) -> datetime:
        """About when it ended."""
        return self.started_at + timedelta(seconds=self.seconds)

    @property
    def backfilled(self) -> bool:
        return self.run_id.startswith(BACKFILL_PREFIX)

    @property
    def dag(self) -> str:
        """The DAG that it belongs to; a stage run by hand belongs to the night."""
        by_name = "backfill" if self.backfilled else OTHER_DAGS.get(self.stage, NIGHTLY)
        return self.tags.get(DAG_TAG, by_name)

    @property
    def model_version(self) -> str | None:
        """The model version that it used or promoted; a model gate without any model records the text None."""
        version = self.tags.get("model_version")
        return None if version == "None" else version

    @property
    def refit_of(self) -> str | None:
        """The judged version whose refit `model_version` is. A model gate made it, or a training that was not due."""
        return self.tags.get("refit_of")

    @property
    def trained_models(self) -> dict[str, str]:
        """Version -> name of the models that it trained, from the tag `models`: "als 2, sequence 3"."""
        models = [model.rsplit(" ", 1) for model in self.tags.get("models", "").split(", ") if " " in model]
        return {version: name for name, version in models}


@dataclass(frozen=True)
class Check:
    """One check of a gate."""

    name: str
    passed: bool
    observed: str
    expected: str
    severity: str = "stop"

    def as_dict(self) -> dict[str, Any]:
        """With the names of ops.gates' columns."""
        return {
            "check": self.name, "passed": self.passed, "observed": self.observed, "expected": self.expected,
            "severity": self.severity,
        }  # fmt: skip


@dataclass(frozen=True)
class GateResult:
    """All checks of a gate at one moment: rows of ops.gates."""

    gate: str
    night: date
    run_id: str
    checked_at: datetime
    override: str | None
    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[Check]:
        """Checks that close the gate."""
        return [check for check in self.checks if not check.passed and check.severity == "stop"]

    @property
    def warnings(self) -> list[Check]:
        """Failed checks that let the night go on."""
        return [check for check in self.checks if not check.passed and check.severity != "stop"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: with its state."""
        return vars(self) | {"state": self.state, "checks": [check.as_dict() for check in self.checks]}

    @property
    def state(self) -> Literal["open", "overridden", "closed"]:
        return "open" if not self.failed else "overridden" if self.override else "closed"


def append_run(lake: Lake, run: StageRun) -> None:
    """Record a run of a stage."""
    row = vars(run) | {name: list(getattr(run, name).items()) for name in MAPS}  # Arrow's form of a map
    lake.append(STAGES, [row])


def append_gate(lake: Lake, result: GateResult, consumed: Mapping[Table, int] = MappingProxyType({})) -> None:
    """Record what a gate found; in the same commit, up to which versions it is done with the tables."""
    common = {name: getattr(result, name) for name in ("run_id", "night", "gate", "checked_at", "override")}
    lake.append(GATES, [common | check.as_dict() for check in result.checks], consumed)


def require(lake: Lake) -> None:
    """Raises MissingTableError where no run is recorded."""
    lake.open(STAGES)


def stage_runs(
    lake: Lake,
    *of: Stage,
    statuses: Sequence[Status] = (),
    night: date | None = None,
    first: date | None = None,
    last: date | None = None,
    run_id: str | None = None,
    started_until: datetime | None = None,
) -> list[StageRun]:
    """Runs in the order of their start; every filter left out lets all runs pass.

    `of` are stages, `first` and `last` the ends of a span of nights, `started_until` the latest start.
    """
    where = [
        _one_of("stage", [stage.name for stage in of]),
        _one_of("status", statuses),
        _one_of("run_id", [run_id] if run_id is not None else []),
        _nights(night or first, night or last),
        f"started_at <= TIMESTAMP '{started_until}'" if started_until else "true",
    ]
    rows = sorted(_rows(lake, STAGES, " AND ".join(where)), key=lambda row: row["started_at"])
    return [_stage_run(row) for row in rows]


def last_attempts(runs: Iterable[StageRun]) -> list[StageRun]:
    """Each stage's last attempt, in the order of their start."""
    return sorted({run.stage: run for run in runs}.values(), key=lambda run: run.started_at)


def runs_by_dag(runs: Iterable[StageRun]) -> dict[str, list[StageRun]]:
    """DAG -> its runs of stages, in the order of their start; the night itself comes first."""
    found: dict[str, list[StageRun]] = {NIGHTLY: []}
    for run in runs:
        found.setdefault(run.dag, []).append(run)
    return found


def last_publish(runs: Iterable[StageRun]) -> StageRun | None:
    """A night's last good publish."""
    good = [run for run in runs if run.stage == stages.PUBLISH.name and run.status == "ok"]
    return good[-1] if good else None


def stopping_run(runs: Iterable[StageRun]) -> StageRun | None:
    """Of all runs of a date the one that kept the lists from the readers: a failed last attempt, else a closed gate."""
    last = [run for run in last_attempts(runs_by_dag(runs)[NIGHTLY]) if run.stage in BEFORE_READERS]
    stopped = [run for status in ("closed", "failed") for run in last if run.status == status]
    return stopped[-1] if stopped else None


def outcome(runs: Sequence[StageRun], *, served: bool = False) -> State:
    """A night's outcome, by all runs of its date.

    A good publish decides: what failed after it, another DAG or a later attempt took no list from the readers. `served`
    says that the store has, or had, a version of the night: a publish that was killed after the flip leaves no row.
    """
    if served or last_publish(runs):
        return "published"
    if (stopped := stopping_run(runs)) is not None:
        return "closed" if stopped.status == "closed" else "failed"
    return "unfinished" if runs_by_dag(runs)[NIGHTLY] else "not run"


def nights(lake: Lake, *of: Stage, statuses: Sequence[Status] = (), before: date | None = None) -> list[date]:
    """Nights of which some run is recorded, oldest first."""
    last = before - timedelta(days=1) if before else None
    where = [
        _one_of("stage", [stage.name for stage in of]),
        _one_of("status", statuses),
        _nights(None, last),
    ]
    return sorted(row["night"] for row in _rows(lake, STAGES, " AND ".join(where), "DISTINCT night"))


def newest_nights(lake: Lake, limit: int) -> dict[date, list[StageRun]]:
    """The newest nights, newest first, each with all its runs."""
    dates = nights(lake)[-limit:]
    runs = stage_runs(lake, first=dates[0]) if dates else []
    return {each: [run for run in runs if run.night == each] for each in reversed(dates)}


def gate_results(lake: Lake, night: date) -> dict[str, GateResult]:
    """Each gate's last result on a night, the oldest first; gates that did not run are left out."""
    last = {result.gate: result for result in _gate_results(lake, _nights(night, night))}
    return dict(sorted(last.items(), key=lambda pair: pair[1].checked_at))


def gate_results_up_to(lake: Lake, night: date) -> dict[str, GateResult]:
    """What the night's lists rest on: its own gate results, and an earlier night's for gates that did not run."""
    earlier = {result.gate: result for result in _gate_results(lake, _nights(None, night - timedelta(days=1)))}
    found = earlier | gate_results(lake, night)
    return {name: found[name] for stage in stages.GATES if (name := stage.gate) in found}


def _stage_run(row: dict[str, Any]) -> StageRun:
    return StageRun(**(row | {name: dict(row[name]) for name in MAPS}))


def _gate_results(lake: Lake, where: str) -> list[GateResult]:
    """Oldest first."""

    def moment_and_gate(row: dict[str, Any]) -> tuple[datetime, str]:
        return row["checked_at"], row["gate"]

    rows = sorted(_rows(lake, GATES, where), key=moment_and_gate)
    return [_gate_result(list(of_result)) for _, of_result in groupby(rows, moment_and_gate)]


def _gate_result(rows: list[dict[str, Any]]) -> GateResult:
    common = {name: rows[0][name] for name in ("run_id", "night", "gate", "checked_at", "override")}
    fields = ("passed", "observed", "expected", "severity")
    checks = tuple(Check(row["check"], **{name: row[name] for name in fields}) for row in rows)
    return GateResult(**common, checks=checks)


def _rows(lake: Lake, table: Table, where: str, columns: str = "*") -> list[dict[str, Any]]:
    return lake.rows(table, where, [columns]).to_pylist() if lake.exists(table) else []


def _one_of(column: str, values: Sequence[str]) -> str:
    return one_of(column, values) if values else "true"


def _nights(first: date | None, last: date | None) -> str:
    return (
        " AND ".join(f"night {sign} DATE '{end}'" for sign, end in ((">=", first), ("<=", last)) if end is not None)
        or "true"
    )
