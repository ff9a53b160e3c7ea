"""A project for the benchmark of live lists: a published version with histories, random factors, rules; and users."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import pyarrow as pa

from benchmarks.publish import D
from models.als import ALS, ALSParams
from models.base import write
from nightloom import settings as settings_module
from nightloom.lake import now
from nightloom.slate.described import COLUMNS
from nightloom.topk import topk
from serving.live.files import FACT, live_place
from serving.scoring_files import ABOUT, BATCH, ITEMS, MODEL, read_scoring_files
from serving.stores import base, open_store, versions
from serving.stores.pushes import PushState
from spark_jobs.slate_scoring import make_slates

K, STORED, EVENTS = 20, 60, 30
CONFIG = """
[project]
name = "live"

[[sources]]
name = "clicks"
kind = "events"
path = "landing"
format = "json"
api = true
fields = {{ id = "string", u = "string", i = "string", e = "string", t = "timestamp" }}
columns = {{ event_id = "id", user_id = "u", item_id = "i", event = "e", occurred_at = "t" }}

[[signals]]
event = "click"

[[models]]
name = "als"

[slate]
k = 20
stored = 60

[[slate.caps]]
name = "five_of_a_category"
by = "category"
at_most = 5

[serving]
live = {live}
"""
AT = datetime(D.year, D.month, D.day, tzinfo=UTC)
Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Times of the users who act, and whether each list was the night's."""

    p50_ms: float
    p99_ms: float
    equal: bool


@dataclass(frozen=True)
class LiveProject:
    config: Path
    files: Path
    histories: list[Row]
    items: int

    def switch(self, live: bool) -> None:
        """Set serving.live for the next server."""
        self.config.write_text(CONFIG.format(live=str(live).lower()), encoding="utf8")

    def wait_until_ready(self, port: int, live: bool) -> None:
        """Until a user who acts gets a live list."""
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for number in range(600):
                self._act(client, len(self.histories) - 1, f"ready-{live}-{number}", 0)
                if not live or self._ask(client, len(self.histories) - 1)["source"] == "live":
                    return
                time.sleep(0.5)
        raise AssertionError("no live list came")

    def act_and_ask(self, port: int, requests: int) -> Found:
        """An event and a request each, by one user after the other; the lists against those of the night's code."""
        seconds, answers, acted = list[float](), list[Row](), list[int]()
        rng = np.random.default_rng(1)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for number in range(requests):
                user, item = number % (len(self.histories) - 1), int(rng.integers(self.items))
                self._act(client, user, f"e{number}", item)
                self.histories[user]["items"].append(str(item))
                started = time.perf_counter()
                answers.append(self._ask(client, user))
                seconds.append(time.perf_counter() - started)
                acted.append(user)
        assert all(answer["source"] == "live" for answer in answers), "some lists are the night's"
        last = {user: answer for user, answer in zip(acted, answers, strict=True)}
        p50, p99 = np.percentile(np.array(seconds) * 1000, (50, 99))
        return Found(float(p50), float(p99), self._equal(last))

    @contextmanager
    def acting(self, port: int, per_second: int = 20) -> Iterator[None]:
        """Users act and ask, so many times a second, for as long as the block lasts."""
        ended = threading.Event()

        def act() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                number = 0
                while not ended.wait(1 / per_second):
                    number += 1
                    self._act(client, number % 50, f"while-{number}", number % self.items)
                    self._ask(client, number % 50)

        thread = threading.Thread(target=act)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _act(self, client: httpx.Client, user: int, event: str, item: int) -> None:
        at = (AT + timedelta(days=1, hours=1)).isoformat()
        sent = {"id": event, "u": f"user-{user}", "i": str(item), "e": "click", "t": at}
        assert client.post("/v1/events", json=sent).status_code == 202

    def _ask(self, client: httpx.Client, user: int) -> Row:
        found: Row = client.get(f"/v1/users/user-{user}/recommendations").json()
        return found

    def _equal(self, answers: dict[int, Row]) -> bool:
        """Whether the night's code gives these lists, all users in one batch."""
        scoring, users = read_scoring_files(self.files), sorted(answers)
        rows = [self.histories[user] for user in users]
        columns = [
            [f"user-{user}" for user in users], [row["items"] for row in rows],
            [[1.0] * len(row["items"]) for row in rows], [[0] * len(row["items"]) for row in rows], [[] for _ in rows],
        ]  # fmt: skip
        batch = pa.RecordBatch.from_arrays(list(map(pa.array, columns, BATCH.types)), schema=BATCH)
        slates = make_slates(scoring.model, scoring.plan, batch, topk)
        ids = scoring.plan.ids.to_pylist()
        return all(
            [item["item_id"] for item in answers[user]["items"]] == [ids[place] for place in places[:K]]
            and np.allclose([item["score"] for item in answers[user]["items"]], scores[:K], rtol=1e-5)
            for user, places, scores in zip(users, slates.items(), slates.scores(), strict=True)
        )


def create(root: Path, items: int, factors: int, users: int) -> LiveProject:
    """A version of random histories and factors, as a night publishes it."""
    rng, config = np.random.default_rng(0), root / "nightloom.toml"
    config.write_text(CONFIG.format(live="true"), encoding="utf8")
    settings = settings_module.load(config)
    histories = [
        {"items": [str(item) for item in rng.integers(0, items, EVENTS)], "user": f"user-{user}"}
        for user in range(users)
    ]
    files = Path(str(live_place(settings))) / "v000001-0"
    _write_files(files, settings.slate.model_dump(mode="json"), items, factors, rng)
    store = open_store(settings)
    with store.exclusive_lock():
        push = versions.begin_push(store, str(D), "run")
        store.begin_load(push.version)
        for kind, bodies in _bodies(histories, items).items():
            header = base.value_header(push.version, "2026-03-02T02:00:00Z")
            rows = sorted((base.encode_key(key), f"{header}{body}}}".encode()) for key, body in bodies.items())
            for number, batch in enumerate(base.to_batches(iter(rows))):
                store.load_part(push.version, (kind, number), batch)
        store.finish_load(push.version)
        facts = {
            "version": push.version, "night": str(D), "run_id": "run", "model_version": "1", "counts": {}, "k": K,
            "generated_at": "2026-03-02T02:00:00Z", "published_at": now().isoformat(), "checksum": "0" * 16,
            "stored": STORED, "inputs": {}, FACT: files.name,
        }  # fmt: skip
        versions.flip(store, versions.set_state(store, push, PushState.VERIFIED, **facts))
    return LiveProject(config, files, histories, items)


def _write_files(folder: Path, slate: Row, items: int, factors: int, rng: np.random.Generator) -> None:
    """Factors of an ALS model, and described items, as serving/scoring_files.py has them."""
    items_ID = (rng.standard_normal((items, factors)) * rng.lognormal(0, 0.5, (items, 1)) / 8).astype(np.float32)
    ids, params = np.sort(np.arange(items).astype(str)), ALSParams(factors=factors)
    gram_DD = (items_ID.T @ items_ID + params.regularisation * np.eye(factors)).astype(np.float32)
    model = ALS(params, ids, items_ID, gram_DD, rng.exponential(0.1, items).astype(np.float32))
    write(folder / MODEL, model, items=model.items_ID, gram=model.gram_DD, bias=model.bias_I)
    about = {"model": "als", "model_version": "1", "night": str(D + timedelta(days=1)), "slate": slate}
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf8")
    given = {"item_id": "i::VARCHAR", "categories": "['c' || (i % 40)]", "available": "true", "popularity": "0.0"}
    columns = ", ".join(f"CAST({given.get(name, 'NULL')} AS {type}) AS {name}" for name, type in COLUMNS.items())
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT {columns} FROM range({items}) t(i)) TO '{folder / ITEMS}' (FORMAT parquet)")


def _bodies(histories: list[Row], items: int) -> dict[str, dict[str, str]]:
    """Kind -> id -> what follows a value's head."""
    some = [str(item) for item in range(STORED)]
    lists = f'"items":{json.dumps(some)},"scores":{json.dumps([1.0] * STORED)}'
    at = int(AT.timestamp()) * 1_000_000
    return {
        "users": {row["user"]: f'"user":"{row["user"]}","model_version":"1",{lists}' for row in histories},
        "items": {
            str(item): f'"title":"Item {item}","categories":["c{item % 40}"],"available":true,"attributes":{{}}'
            for item in range(items)
        },
        "popular": {"all": f'"segment":"all",{lists}'},
        "histories": {
            row["user"]: f'"user":"{row["user"]}","items":{json.dumps(row["items"])},'
            f'"weights":{json.dumps([1.0] * EVENTS)},"at":{json.dumps([at] * EVENTS)},"attributes":[]'
            for row in histories
        },
    }  # fmt: skip
