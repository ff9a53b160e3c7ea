"""A lake of a few users and items, a model, and nights of scoring on it."""

from __future__ import annotations

import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from models import registry
from nightloom.contracts import INTERACTIONS, ITEMS, RECOMMENDATIONS
from nightloom.lake.recommendations import nightly_lists
from nightloom.night import stages
from nightloom.night.run import run_stage
from spark_jobs import gold_histories, gold_recommendations
from tests.spark_jobs.small_project import NOON, D, Project, project
from training import registration, train

Lists = dict[str, tuple[list[str], list[float], str]]


def after(days: int) -> date:
    return D + timedelta(days=days)


class ScoringLake:
    """A lake of a few users, a champion, and nights of scoring on it."""

    def __init__(self, at: Project) -> None:
        self.at, self.lake, self.events = at, at.night().lake, 0
        self.rare = ""
        """An item that some lists hold, and few do."""

    def likes(self, *pairs: tuple[str, str], at: datetime = NOON) -> None:
        rows = []
        for user, item in pairs:
            self.events += 1
            row = {"event_id": f"e{self.events:04}", "user_id": user, "item_id": item, "event": "rating", "night": D}
            rows.append(row | {"value": 5.0, "weight": 1.0, "occurred_at": at, "rescued": None, "row_id": "r"})
        self.lake.append(INTERACTIONS, rows)

    def catalogue(self, *items: str) -> None:
        fixed = {"categories": [], "attributes": [], "updated_at": NOON, "row_id": "r", "night": D, "available": True}
        self.lake.append(ITEMS, [fixed | {"item_id": item, "title": item} for item in items])

    def champion(self, model: str, version: str) -> None:
        """Train a model and let it serve."""
        argv = ["--date", str(after(30)), "--config", str(self.at.settings.file), "--model", model]
        run_stage(stages.TRAIN, train.main, options=train.OPTIONS, argv=argv)
        registration.set_alias(self.at.settings, registry.CHAMPION, version)

    def available(self, item: str, yes: bool) -> None:
        (row,) = self.lake.rows(ITEMS, f"item_id = '{item}'").to_pylist()
        self.lake.update(ITEMS, [row | {"available": yes}])

    def score(self, day: date, **arguments: Any) -> str:
        """Build the histories and lists of a night -> a description of the users who were scored."""
        self.at.run(gold_histories.main, day=day)
        night = self.at.night(day)
        vars(night.arguments).update(arguments)
        gold_recommendations.main(night)
        return night.tags.get("scored", "settled")

    def lists(self, day: date) -> Lists:
        """Every user's list of a night."""
        select = nightly_lists(self.lake, day)
        rows = self.lake.query(select, ("t", self.lake.open(RECOMMENDATIONS))).to_pylist()
        assert {row["night"] for row in rows} == {day}
        assert len({row["user_id"] for row in rows}) == len(rows)
        return {row["user_id"]: (row["items"], row["scores"], row["model_version"]) for row in rows}

    def scored(self, day: date) -> set[str]:
        """Users with a row of the night itself."""
        return set(self.lake.rows(RECOMMENDATIONS, f"night = DATE '{day}'", ["user_id"])["user_id"].to_pylist())

    def twin(self, scratch: Path, more: str = "") -> ScoringLake:
        """A copy of it all, with `more` in its nightloom.toml."""
        shutil.copytree(self.at.settings.root, scratch, dirs_exist_ok=True)
        return ScoringLake(project(scratch, self.at.spark, self.at.settings.file.read_text() + more))

    def of_everybody(self, day: date, scratch: Path) -> Lists:
        """The lists of a full night, computed in a copy of the lake."""
        twin = self.twin(scratch)
        assert twin.score(day, full=True) == "everybody: --full"
        return twin.lists(day)
