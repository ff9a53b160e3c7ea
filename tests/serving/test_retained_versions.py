"""retained_versions.py: the table versions behind kept serving versions and the champion, and nobody else's."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from nightloom.contracts import CHAMPIONS, INTERACTIONS, STAGES
from serving.retained_versions import main, oldest_served_night, retained_versions
from serving.stores import versions
from serving.stores.pushes import PushState

if TYPE_CHECKING:
    from tests.serving.conftest import Project

D = date(1998, 4, 21)
START = datetime(1998, 4, 22, 2, tzinfo=UTC)


def noted(project: Project, stage: str, reads: dict[str, int], day: date = D, **facts: str) -> None:
    """A row of ops.stages, of a stage that ended well."""
    row: dict[str, Any] = {
        "run_id": f"run-{day}", "night": day, "stage": stage, "status": "ok", "seconds": 1.0, "writes": [], "rows": [],
        "started_at": START + (day - D), "reads": list(reads.items()), "tags": list(facts.items()), "code": "c",
        "config": "d", "error": None,
    }  # fmt: skip
    project.night().lake.append(STAGES, [row])


def published(project: Project, day: date, inputs: dict[str, int], model_version: str) -> None:
    with project.store.exclusive_lock():
        meta = {
            "inputs": inputs, "night": str(day), "model_version": model_version,
            "published_at": (START + (day - D) + timedelta(hours=1)).isoformat(),
        }  # fmt: skip
        push = versions.begin_push(project.store, str(day), f"run-{day}")
        versions.flip(project.store, versions.set_state(project.store, push, PushState.VERIFIED, **meta))
        versions.prune(project.store, 2)


def test_nothing_is_needed_before_anything_is_published(project: Project) -> None:
    assert (retained_versions(project.settings), oldest_served_night(project.settings)) == ({}, None)


def test_what_kept_versions_were_made_from_is_needed_with_what_their_stages_and_their_training_read(
    project: Project,
) -> None:
    project.configure("stored = 4", "stored = 4\nfull_refresh_days = 1")
    noted(project, "training.train", {"silver.interactions": 3}, models="als 7")
    for n in range(3):
        day = D + timedelta(days=n)
        noted(project, "spark_jobs.gold_recommendations", {"gold.histories": 10 + n}, day)
        published(project, day, {"gold.recommendations": 20 + n}, "7")
    assert retained_versions(project.settings) == {
        "silver.interactions": {3},
        "gold.histories": {11, 12},
        "gold.recommendations": {21, 22},
    }
    assert oldest_served_night(project.settings) == D + timedelta(days=1)


def test_what_lists_of_an_earlier_night_were_made_from_is_needed_as_long_as_they_may_be_served(
    project: Project,
) -> None:
    project.configure("stored = 4", "stored = 4\nfull_refresh_days = 3")
    for n in range(6):
        noted(project, "spark_jobs.gold_recommendations", {"gold.histories": 10 + n}, D + timedelta(days=n))
    published(project, D + timedelta(days=4), {}, "7")
    assert retained_versions(project.settings) == {"gold.histories": {12, 13, 14}}


def test_the_champion_is_needed_before_it_has_made_a_list(project: Project) -> None:
    noted(project, "training.train", {"silver.interactions": 3}, models="als 7, sequence 8")
    noted(project, "training.train", {"silver.interactions": 5}, day=D + timedelta(days=7), models="als 9")
    noted(project, "training.model_gate", {"silver.interactions": 4}, model_version="8")
    assert retained_versions(project.settings) == {"silver.interactions": {3, 4}}


def test_a_champion_that_a_person_made_is_needed_as_far_as_its_table_still_has_the_version(project: Project) -> None:
    lake = project.night().lake
    lake.create(INTERACTIONS)
    newest = lake.version(INTERACTIONS)
    noted(project, "training.train", {"silver.interactions": newest}, models="als 5", model_versions="5")
    noted(project, "training.train", {"silver.interactions": newest + 9}, models="als 6", model_versions="6")
    for days, version in enumerate(("5", "6", "5")):
        change = {
            "run_id": "hand", "changed_at": START + timedelta(days=days), "action": "promoted", "version": version,
            "model": "als", "previous_version": None, "by": "ann", "why": "because",
        }  # fmt: skip
        lake.append(CHAMPIONS, [change])
        assert retained_versions(project.settings) == ({"silver.interactions": {newest}} if version == "5" else {})


def test_the_command_prints_versions_and_the_oldest_night_as_json(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    published(project, D, {"gold.recommendations": 20}, "7")
    main(["--config", str(project.settings.file)])
    assert json.loads(capsys.readouterr().out) == {"versions": {"gold.recommendations": [20]}, "oldest_night": str(D)}
