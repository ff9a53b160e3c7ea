"""The run records -> the model version behind a night's lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.night.records import OK, StageRun, stage_runs


@dataclass(frozen=True)
class ModelVersion:
    """A model version, and how we know that it is the right one."""

    version: str
    reason: str


def model_version(lake: Lake, night: date) -> ModelVersion | None:
    """The version with which a night was published, else first scored; else the champion of that day.

    None when nothing is recorded: the night is older than the first champion.
    """
    if published := _versions(stage_runs(lake, stages.PUBLISH, statuses=OK, night=night)):
        return ModelVersion(published[-1], "the night was published with it")
    scored = stage_runs(lake, stages.RECOMMENDATIONS, statuses=OK, night=night)
    if versions := _versions([run for run in scored if not run.backfilled]):
        return ModelVersion(versions[0], "the night was first scored with it")
    gate_runs = sorted(stage_runs(lake, stages.MODEL_GATE, statuses=OK, last=night), key=lambda run: run.night)
    if champions := _versions(gate_runs):
        return ModelVersion(champions[-1], "it was the champion of that day")
    return None


def _versions(runs: list[StageRun]) -> list[str]:
    return [run.model_version for run in runs if run.model_version]
