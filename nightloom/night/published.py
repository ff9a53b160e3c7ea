"""ops.stages -> how a night was made: the runs that scored and published it, and by which model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from nightloom.contracts import STAGES
from nightloom.lake import Lake

SCORING, PUBLISHING, JUDGING = "spark_jobs.gold_recommendations", "serving.publish", "training.model_gate"
BACKFILLED = "backfill__"
"""How Airflow begins the id of a run that a backfill made."""


@dataclass(frozen=True)
class Run:
    """One stage's run that went well."""

    run_id: str
    night: date
    started_at: datetime
    reads: dict[str, int]
    writes: dict[str, int]
    facts: dict[str, str]
    code: str
    config: str

    @property
    def backfilled(self) -> bool:
        return self.run_id.startswith(BACKFILLED)


@dataclass(frozen=True)
class Known:
    """A model version, and how we know."""

    version: str
    why: str


def good_runs(lake: Lake, stage: str, where: str = "true") -> list[Run]:
    """Runs of a stage that went well, oldest first; `where` is SQL over ops.stages."""
    if not lake.exists(STAGES):
        return []
    rows = lake.rows(STAGES, f"stage = '{stage}' AND status = 'ok' AND ({where}) ORDER BY started_at").to_pylist()
    return [_run(row) for row in rows]


def _run(row: dict[str, Any]) -> Run:
    maps = {name: dict(row[name]) for name in ("reads", "writes", "facts")}
    same = {name: row[name] for name in ("run_id", "night", "started_at", "code", "config")}
    return Run(**(same | maps))


def model_of(lake: Lake, night: date) -> Known | None:
    """The version that a night's lists were published with, else were first scored with; else the champion of then.

    None when nothing is known: the night is older than the first champion.
    """
    own = f"night = DATE '{night}'"
    if published := _versions(good_runs(lake, PUBLISHING, own)):
        return Known(published[-1], "the night was published with it")
    if scored := _versions([run for run in good_runs(lake, SCORING, own) if not run.backfilled]):
        return Known(scored[0], "the night was first scored with it")
    judged = sorted(good_runs(lake, JUDGING, f"night <= DATE '{night}'"), key=lambda run: run.night)
    if serving := _versions(judged):
        return Known(serving[-1], "it was the champion of that day")
    return None


def _versions(runs: list[Run]) -> list[str]:
    """Model versions that runs have noted; a gate without any model notes None."""
    return [run.facts["model_version"] for run in runs if run.facts.get("model_version", "None") != "None"]
