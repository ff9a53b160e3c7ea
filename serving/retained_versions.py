"""Kept serving versions and the champion -> the table versions that they were made from, by the run records.

A served list is explained, and rolled back to, from the versions that it was made from: maintenance keeps their files.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

from nightloom.contracts import CHAMPIONS, find_table
from nightloom.errors import MissingTableError
from nightloom.lake import Lake, now
from nightloom.night import stages
from nightloom.night.records import OK, stage_runs
from nightloom.settings import Settings
from serving.lineage import lineage, scorings
from serving.stores import open_store, versions
from serving.stores.pushes import SERVABLE, Push


def needed(settings: Settings) -> dict[str, set[int]]:
    """Table -> versions that a kept serving version or the champion was made from, and read by the stages that did."""
    lake, found = Lake(settings.place("lake")), defaultdict[str, set[int]](set)
    for meta in [*(push.facts for push in kept(settings)), *_champion(lake)]:
        behind = [*lineage(lake, meta), *scorings(lake, meta, settings.slate.full_refresh_days - 1)]
        reads = [run.reads for run in behind]
        for name, version in (pair for pairs in (*reads, meta["inputs"]) for pair in pairs.items()):
            found[name].add(version)
    for name, version in _by_hand(lake):
        found[name].add(version)
    return dict(found)


def _by_hand(lake: Lake) -> list[tuple[str, int]]:
    """What the training of the last promoted or demoted-to champion read, as far as it is still there.

    Gate 2 has named another one where a person chose; an old version may outlive its table's log.
    """
    if not lake.exists(CHAMPIONS):
        return []
    champion = lake.rows(CHAMPIONS, "true ORDER BY changed_at DESC LIMIT 1", ["version"])["version"][0].as_py()
    trainings = stage_runs(lake, stages.TRAIN, statuses=OK)
    trained = [run for run in trainings if champion in run.tags.get("model_versions", "").split(",")]
    return [pair for run in trained for pair in run.reads.items() if _is_there(lake, *pair)]


def _is_there(lake: Lake, name: str, version: int) -> bool:
    try:
        lake.open(find_table(name), version)
    except MissingTableError:
        return False
    return True


def _champion(lake: Lake) -> list[dict[str, Any]]:
    """What lineage() asks for, for the champion that gate 2 named last: it may not have made a served list yet."""
    named = [run for run in stage_runs(lake, stages.MODEL_GATE, statuses=OK) if run.model_version][-1:]
    fixed = {"published_at": now().isoformat(), "inputs": {}}
    return [fixed | {"model_version": run.model_version, "night": str(run.night)} for run in named]


def kept(settings: Settings) -> list[Push]:
    """The version that is served and those that a rollback may serve again."""
    return [push for push in versions.list_pushes(open_store(settings)) if push.state in SERVABLE]


def oldest_night(settings: Settings) -> date | None:
    """The oldest night that a kept version serves."""
    return min((date.fromisoformat(push.night) for push in kept(settings)), default=None)
