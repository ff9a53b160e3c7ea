"""A small project whose gold tables are written by nightloom.lake, in place of Spark and training."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import fault_load
from nightloom import settings as settings_module
from nightloom.contracts import (
    HISTORIES,
    INTERACTIONS,
    ITEM_DAYS,
    ITEM_STATS,
    ITEMS,
    POPULAR,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
)
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from nightloom.night.run import run_stage
from nightloom.night.stages import Stage
from nightloom.settings import Settings
from serving import api, explainer, publish
from serving.explanations import Answer, Question
from serving.slate_checks import lists_database, slate_checks
from serving.stores import Store, open_store

CONFIG = f"""{fault_load.CONFIG}
[slate]
k = 3
stored = 4

[store]
keep = 3
"""
D = date(1998, 4, 21)
ITEM_IDS = [str(number) for number in range(1, 13)]
USERS = [f"u{number}" for number in range(1, 9)]


@dataclass
class Project:
    """A folder with a nightloom.toml and a lake, and the stages of serving to run on it."""

    root: Path
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return settings_module.load(self.root / "nightloom.toml")

    @property
    def store(self) -> Store:
        return open_store(self.settings)

    def configure(self, old: str, new: str) -> None:
        """Change a line of its nightloom.toml."""
        file = self.root / "nightloom.toml"
        text = file.read_text(encoding="utf8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf8")

    def night(self, day: date = D, stage: Stage = stages.PUBLISH, **arguments: Any) -> Night:
        defaults = {"override": None, "force_older": None}
        return Night(
            day, self.settings, f"run-{day}", stage.name, arguments=argparse.Namespace(**(defaults | arguments))
        )

    def plant_items(self, unavailable: tuple[str, ...] = ()) -> None:
        lake = self.night().lake
        lake.append(
            ITEMS,
            [
                {
                    "item_id": item, "title": f'Film "{item}" <é>', "categories": ["Drama"],
                    "attributes": [("year", str(1990 + int(item)))], "available": item not in unavailable,
                    "updated_at": moment(D), "row_id": item, "night": D,
                }
                for item in ITEM_IDS
            ],
        )  # fmt: skip

    def plant_histories(
        self,
        day: date = D,
        users: list[str] | None = None,
        likes: dict[str, list[str]] | None = None,
        at: date = D,
    ) -> None:
        """Every user has seen items 1 and 2, or what `likes` says; all of it at one moment."""
        lake = self.night().lake
        seen = likes or {user: ["1", "2"] for user in users or USERS}
        lake.append(
            INTERACTIONS,
            [
                {
                    "event_id": f"{user}-{item}", "user_id": user, "item_id": item, "event": "rating", "value": 5.0,
                    "weight": 1.0, "occurred_at": moment(at), "rescued": None, "row_id": f"{user}-{item}", "night": day,
                }
                for user, items in seen.items()
                for item in items
            ],
        )  # fmt: skip
        lake.append(
            HISTORIES,
            [
                {
                    "week": HISTORIES.period_of(at), "user_id": user, "items": items, "weights": [1.0] * len(items),
                    "at": [moment(at)] * len(items), "event_ids": [f"{user}-{item}" for item in items],
                }
                for user, items in seen.items()
            ],
        )  # fmt: skip
        self._plant_item_statistics(day, Counter(chain.from_iterable(seen.values())), at)

    def _plant_item_statistics(self, day: date, touched: Counter[str], at: date) -> None:
        """`touched`: item -> number of events."""
        lake = self.night().lake
        lake.append(
            ITEM_DAYS,
            [
                {
                    "day": at, "item_id": item, "events": events, "users": events, "weight": float(events),
                    "first_at": moment(at), "last_at": moment(at),
                }
                for item, events in touched.items()
            ],
        )  # fmt: skip
        lake.append(
            ITEM_STATS,
            [
                {
                    "night": day, "item_id": item, "events_1d": 0, "events_7d": 0, "events_28d": 0, "events": events,
                    "popularity": 1.0, "first_at": moment(at), "last_at": moment(at),
                }
                for item, events in touched.items()
            ],
        )  # fmt: skip

    def plant_lists(
        self,
        day: date = D,
        lists: dict[str, list[str]] | None = None,
        only: list[str] | None = None,
        popular: list[str] | None = None,
        **columns: Any,
    ) -> None:
        """A list per user: items 3.. in an order of the user's own, or as `lists` says; and a popular list."""
        lake = self.night().lake
        every = dict(zip(USERS, _rotations(ITEM_IDS[2:], 4), strict=True)) | (lists or {})
        lists = {user: every[user] for user in only or every}
        rows = [
            {
                "night": day, "user_id": user, "items": items, "scores": [9.5 - rank for rank in range(len(items))],
                "model_version": "7", "generated_at": moment(day), "full_night": day,
            } | columns
            for user, items in lists.items()
        ]  # fmt: skip
        lake.append(RECOMMENDATIONS, rows)
        if only is None:
            self.plant_popular(day, popular)

    def plant_popular(self, day: date = D, items: list[str] | None = None) -> None:
        items = items or ["1", "2", "3", "4"]
        scores = [float(len(items) - rank) for rank in range(len(items))]
        popular = {"night": day, "segment": "all", "items": items, "scores": scores}
        of_market = popular | {"segment": "market=DE", "items": ["5", "1"], "scores": [2.0, 1.0]}
        self.night().lake.append(POPULAR, [popular, of_market])

    def plant_similar(self, day: date = D, **lists: list[str]) -> None:
        """Similar items: 2 and 4 are similar to 1, and 1 to 2; or as `lists` says (`i1=...`)."""
        given = lists or {"i1": ["2", "4"], "i2": ["1"]}
        rows = [
            {
                "night": day, "item_id": item[1:], "items": items, "model_version": "7",
                "scores": [2.0 - rank for rank in range(len(items))],
            }
            for item, items in given.items()
        ]  # fmt: skip
        self.night().lake.append(SIMILAR_ITEMS, rows)

    def plant_all(self, day: date = D) -> Project:
        """Items, histories and lists that gate 3 lets through."""
        self.plant_items()
        self.plant_histories(day)
        self.plant_lists(day)
        self.plant_similar(day)
        return self

    def checks(self, day: date = D) -> dict[str, Check]:
        """Gate 3's own checks by name."""
        night = self.night(day, stages.SLATE_GATE)
        with lists_database(night) as db:
            return {check.name: check for check in slate_checks(night, db)}

    def judge(self, day: date = D, **arguments: Any) -> None:
        """Gate 3 without the tables' expectations, recorded as its stage records it."""

        def body(night: Night) -> None:
            with lists_database(night) as db:
                checks = slate_checks(night, db)
            record_and_enforce(night, stages.SLATE_GATE, checks)

        run(self, stages.SLATE_GATE, body, day, arguments)

    def client(self) -> Client:
        return Client(self.settings)

    def publish(self, day: date = D, **arguments: Any) -> None:
        run(self, stages.PUBLISH, publish.main, day, arguments)


class Client:
    """Requests to one app, without a network."""

    def __init__(self, settings: Settings) -> None:
        self.app = api.create_app(settings)

    def explain(self, user: str, item: str, *, page: bool = False) -> Answer:
        """The answer of the process that explains, made in this one: a process opens an LMDB version once."""
        return explainer.answer(self.app.state.settings, self.app.state.lists.reader, Question(user, item, page))

    def get(self, path: str, **headers: str) -> httpx.Response:
        """`headers`: `if_none_match=...` is If-None-Match."""
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """`arguments` are those of httpx."""

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                client.headers["Accept-Encoding"] = "identity"
                return await client.request(method, path, **arguments)

        return asyncio.run(once())


def run(project: Project, stage: Stage, body: Any, day: date, arguments: dict[str, Any]) -> None:
    """Run a stage in this process, as its command would."""
    argv = ["--date", str(day), "--config", str(project.root / "nightloom.toml")]
    for name, value in arguments.items():
        argv += [f"--{name.replace('_', '-')}", value]
    run_stage(stage, body, options={"--override": {}, "--force-older": {}}, argv=argv)


def _rotations(items: list[str], length: int) -> list[list[str]]:
    return [(items[start:] + items[:start])[:length] for start in range(len(USERS))]


def moment(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(seconds=5)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A shop with three nights, models and quarantine, for the tests of the console."""
    from tests.serving.console_shop import make_shop  # it is made of what is above

    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    (tmp_path / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    return Project(tmp_path)
