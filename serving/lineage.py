"""ops.stages -> the runs behind a served version, and behind one list of it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from nightloom.contracts import RECOMMENDATIONS
from nightloom.lake import Lake
from nightloom.lake.recommendations import full_night
from nightloom.night import runs
from nightloom.night.published import JUDGING, SCORING
from nightloom.night.runs import StageRun
from serving.history import user_condition

TRAINING = "training.train"


def lineage(lake: Lake, meta: dict[str, Any]) -> list[StageRun]:
    """Stages that made a version: each one's last good attempt of its night before the publish, and the training."""
    good = runs.stage_runs(lake, f"status = 'ok' AND night <= DATE '{meta['night']}' AND {_before(meta)}")
    model = [run for run in good if meta["model_version"] in (run.facts.get("model_version"), *trained(run))]
    of_night = [run for run in good if str(run.night) == meta["night"] and run.stage != TRAINING]
    return runs.last_attempts([*(run for run in model if run.stage in (TRAINING, JUDGING)), *of_night])


def scorings(lake: Lake, meta: dict[str, Any], days: int) -> list[StageRun]:
    """Good runs that may have scored a list of a version: a list is of its night, or of the `days` before it."""
    first = date.fromisoformat(meta["night"]) - timedelta(days=days)
    nights = f"night BETWEEN DATE '{first}' AND DATE '{meta['night']}'"
    return runs.stage_runs(lake, f"stage = '{SCORING}' AND status = 'ok' AND {nights} AND {_before(meta)}")


def scored_by(lake: Lake, meta: dict[str, Any], user: str) -> StageRun | None:
    """The run that scored a user's own list in a version; None: not recorded.

    Unchanged users keep the list of an earlier night: its row says when it was scored.
    """
    night, version = date.fromisoformat(meta["night"]), meta["inputs"][RECOMMENDATIONS.full_name]
    nights = f"night IN (DATE '{night}', DATE '{full_night(lake, night, version)}') ORDER BY night DESC LIMIT 1"
    found = lake.rows(
        RECOMMENDATIONS, f"{user_condition(user)} AND {nights}", ("generated_at", "model_version"), version
    )
    if not found.num_rows:
        return None
    at, model = (found[name][0].as_py() for name in ("generated_at", "model_version"))
    begun = runs.stage_runs(lake, f"stage = '{SCORING}' AND status = 'ok' AND started_at <= TIMESTAMP '{at}'")
    made = [run for run in begun if run.facts.get("model_version") == model][-1:]
    return next((run for run in made if at <= run.started_at + timedelta(seconds=run.seconds)), None)


def trained(run: StageRun) -> dict[str, str]:
    """Version -> name of the models that a run trained, from its fact `models`: "als 2, sequence 3"."""
    pairs = [model.rsplit(" ", 1) for model in run.facts.get("models", "").split(", ") if " " in model]
    return {version: name for name, version in pairs}


def _before(meta: dict[str, Any]) -> str:
    return f"started_at <= TIMESTAMP '{meta['published_at']}'"
