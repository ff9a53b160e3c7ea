"""Servable versions and the champion -> the table versions that they were made from, by the run records.

A served list is explained, and rolled back to, from the versions that it was made from: maintenance keeps their files.
By hand: `python -m serving.retained_versions` prints them as JSON. Maintenance asks in this way, too: the store is
serving's, and Spark's jobs import nothing of serving.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from nightloom import settings as settings_module
from nightloom.arguments import Arguments
from nightloom.contracts import CHAMPIONS, find_table
from nightloom.errors import MissingTableError, NightloomError
from nightloom.lake import Lake, as_json, now
from nightloom.night import stages
from nightloom.night.records import ADDED_ITEMS, OK, stage_runs
from nightloom.settings import Settings
from serving.lineage import lineage, possible_scorings
from serving.stores import open_store, versions
from serving.stores.pushes import SERVABLE, Push


def retained_versions(settings: Settings) -> dict[str, set[int]]:
    """Table -> versions that a servable version or the champion was made from, or that a stage read to make them."""
    lake, found = Lake(settings.place("lake")), defaultdict[str, set[int]](set)
    for meta in [*(push.facts for push in servable_pushes(settings)), *_model_gates_champion(lake)]:
        runs = [*lineage(lake, meta), *possible_scorings(lake, meta, settings.slate.full_refresh_days - 1)]
        for reads in (*(run.reads for run in runs), meta["inputs"]):
            for name, version in reads.items():
                found[name].add(version)
    for name, version in _persons_champion(lake):
        found[name].add(version)
    return dict(found)


def oldest_served_night(settings: Settings) -> date | None:
    """The oldest night that a servable version serves."""
    return min((date.fromisoformat(push.night) for push in servable_pushes(settings)), default=None)


def servable_pushes(settings: Settings) -> list[Push]:
    """The version that is served and those to which a rollback may go back."""
    return [push for push in versions.list_pushes(open_store(settings)) if push.state in SERVABLE]


def _model_gates_champion(lake: Lake) -> list[dict[str, Any]]:
    """The champion that gate 2 named last, as lineage() takes it: it may not have made a served list yet."""
    named = [run for run in stage_runs(lake, stages.MODEL_GATE, statuses=OK) if run.model_version][-1:]
    fixed = {"published_at": now().isoformat(), "inputs": {}}
    return [fixed | {"model_version": run.model_version, "night": str(run.night)} for run in named]


def _persons_champion(lake: Lake) -> list[tuple[str, int]]:
    """Tables and versions read by the training of the present champion, where a person may have chosen it.

    Gate 2 named another one then. Versions that are gone are left out: one may outlive its table's log.
    """
    if not lake.exists(CHAMPIONS):
        return []
    champion = lake.rows(CHAMPIONS, "true ORDER BY changed_at DESC LIMIT 1", ["version"])["version"][0].as_py()
    trainings = stage_runs(lake, stages.TRAIN, stages.MODEL_GATE, statuses=(*OK, *ADDED_ITEMS))
    own = [run for run in trainings if champion in (run.refit_of, *run.trained_models)]
    return [pair for run in own for pair in run.reads.items() if _exists(lake, *pair)]


def _exists(lake: Lake, name: str, version: int) -> bool:
    try:
        lake.open(find_table(name), version)
    except MissingTableError:
        return False
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Print as one JSON object which versions of each table stay, and the oldest night that can be served."""
    parser = Arguments(prog="python -m serving.retained_versions", description=main.__doc__)
    parser.add_argument("--config", type=Path, help="nightloom.toml; default $NIGHTLOOM_CONFIG or the working folder's")
    try:
        settings = settings_module.load(parser.parse_args(argv).config)
        found = {name: sorted(versions_of) for name, versions_of in sorted(retained_versions(settings).items())}
        print(as_json({"versions": found, "oldest_night": oldest_served_night(settings)}))
    except NightloomError as error:
        print(f"retained versions: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
