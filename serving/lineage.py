"""The run records -> the runs behind a served version, and behind one list of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from nightloom.contracts import RECOMMENDATIONS
from nightloom.lake import Lake
from nightloom.lake.recommendations import nightly_lists
from nightloom.night import stages
from nightloom.night.records import ADDED_ITEMS, OK, StageRun, last_attempts, stage_runs
from serving.history import user_condition


def lineage(lake: Lake, meta: dict[str, Any]) -> list[StageRun]:
    """The runs that made a version: of its night each stage's last success before the publish, and the training."""
    night, published_at, version = date.fromisoformat(meta["night"]), _published_at(meta), meta["model_version"]
    made = (*OK, *ADDED_ITEMS)
    trainings = stage_runs(lake, stages.TRAIN, stages.MODEL_GATE, statuses=made, last=night, started_until=published_at)
    # Of a refit also the training of the version that was judged.
    judged = {run.refit_of for run in trainings if run.model_version == version and run.refit_of}
    model = [run for run in trainings if run.model_version == version or {version, *judged} & {*run.trained_models}]
    of_night = stage_runs(lake, statuses=OK, night=night, started_until=published_at)
    return last_attempts([*model, *(run for run in of_night if run.stage != stages.TRAIN.name)])


def possible_scorings(lake: Lake, meta: dict[str, Any], days: int) -> list[StageRun]:
    """The successful runs that may have scored a list of a version, on its night or on the `days` before it."""
    last = date.fromisoformat(meta["night"])
    first, published_at = last - timedelta(days=days), _published_at(meta)
    return stage_runs(lake, stages.RECOMMENDATIONS, statuses=OK, first=first, last=last, started_until=published_at)


def scoring_run(lake: Lake, meta: dict[str, Any], user: str) -> StageRun | None:
    """The run that scored a user's own list in a version; None where none is recorded.

    Unchanged users keep the list of an earlier night: its row says when it was scored.
    """
    night, version = date.fromisoformat(meta["night"]), meta["inputs"][RECOMMENDATIONS.full_name]
    lists = nightly_lists(lake, night, version)
    select = f"SELECT generated_at, model_version FROM ({lists}) WHERE {user_condition(user)}"
    found = lake.query(select, ("t", lake.open(RECOMMENDATIONS, version)))
    if not found.num_rows:
        return None
    at, model = (found[name][0].as_py() for name in ("generated_at", "model_version"))
    started_before = stage_runs(lake, stages.RECOMMENDATIONS, statuses=OK, started_until=at)
    last = [run for run in started_before if run.model_version == model][-1:]
    return next((run for run in last if at <= run.ended_at), None)


def _published_at(meta: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(meta["published_at"])
