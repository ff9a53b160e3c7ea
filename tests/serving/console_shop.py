"""A shop with three nights for the console: two are published, the third stopped at a gate; records in quarantine."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from nightloom.contracts import BRONZE_EVENTS, CHAMPIONS, ITEMS, MODEL_VERDICTS, QUARANTINE_ROWS
from nightloom.lake import now
from nightloom.night import records, stages
from nightloom.night.records import StageRun
from nightloom.night.stages import Stage
from serving.stores import overlay
from serving.stores.overlay import Cause
from tests.serving.conftest import CONFIG, USERS, D, Project, moment

NEXT, THIRD = D + timedelta(days=1), D + timedelta(days=2)
HOSTILE = '"><script>alert(1)</script>\u202edcba'
"""As an id, a title or a reason: markup, and a sign that turns what follows it."""
SHOWN = "&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\\u202edcba"
"""How a page has it."""
BAD_RECORD = {"u": "u1", "i": "3", "e": "ratnig", "t": "1998-04-21T10:00:00Z"}
MENDED_RECORD = BAD_RECORD | {"e": "rating"}
SECONDS = {
    stages.BRONZE: 14.2, stages.SILVER_ITEMS: 6.1, stages.SILVER_INTERACTIONS: 21.5, stages.DATA_GATE: 9.3,
    stages.HISTORIES: 12.0, stages.ITEM_DAYS: 7.4, stages.POPULAR: 4.8, stages.RECOMMENDATIONS: 48.9,
    stages.SIMILAR_ITEMS: 11.0,
}  # fmt: skip


def make_shop(root: Path, name: str = HOSTILE) -> Project:
    """The shop. `name` is the id and the title of an item, the id of a user, and the reason of what people did."""
    (root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    project = Project(root)
    project.plant_items()
    item = {
        "item_id": name, "title": name, "categories": [name], "available": True, "updated_at": moment(D), "row_id": "x",
        "attributes": [("image", "https://images.example/x.jpg"), ("brand", name)], "night": D,
    }  # fmt: skip
    project.night().lake.append(ITEMS, [item])
    everybody = [*USERS, name]
    for day in (D, NEXT):
        project.plant_histories(day, likes={user: ["1", "2"] for user in everybody} | {"u8": [name]}, at=day)
        own = {name: [name, "3", "4", "5"], "u1": ["6", name, "3", "4"] if day == D else [name, "6", "3", "4"]}
        project.plant_lists(day, lists=own)
        project.plant_similar(day, i1=["2", name], i2=["1"])
        record_stages(project, day)
        project.judge(day)
        project.publish(day)
    record_stages(project, THIRD)
    project.plant_lists(THIRD, only=["u1"])
    with pytest.raises(SystemExit):
        project.judge(THIRD)
    plant_models(project, name)
    for text in (json.dumps(BAD_RECORD), f'{{"e": "{name}"}}'):
        plant_bad_record(project, text, name)
    overlay.add(project.store, Cause.OUT_OF_STOCK, [name], f"ann: {name}")
    overlay.remove(project.store, Cause.OUT_OF_STOCK, [name], f"ann: {name}")
    return project


def record_stages(project: Project, night: date) -> None:
    """Rows of the stages before gate 3, one after the other."""
    at = datetime(night.year, night.month, night.day, 2, tzinfo=UTC) + timedelta(days=1)
    for stage, seconds in SECONDS.items():
        records.append_run(project.night().lake, stage_run(stage, night, at, seconds))
        at += timedelta(seconds=seconds + 2)


def stage_run(stage: Stage, night: date, at: datetime, seconds: float) -> StageRun:
    rows = {"bronze.events": 1200 + 100 * night.day} if stage is stages.BRONZE else {}
    return StageRun(
        f"scheduled__{night}", night, stage.name, "ok", at, seconds, {}, {}, rows, {}, "code", "config", None
    )


def plant_models(project: Project, why: str) -> None:
    """Version 2 is champion after version 1; version 3 was refused."""
    lake, at = project.night().lake, moment(D)
    common = {"metric": "ndcg@10", "users": 8, "gain_low": 0.0, "gain_high": 0.1, "segments": [("new users", 0.1)]}
    scores = (
        (D, "1", "promoted", 0.11, None),
        (NEXT, "2", "promoted", 0.15, 0.12),
        (THIRD, "3", "refused", 0.14, 0.151),
    )
    for night, version, outcome, score, champion_score in scores:
        verdict: dict[str, Any] = {
            "run_id": "r", "night": night, "version": version, "model": "als", "champion": None, "outcome": outcome,
            "why": why, "score": score, "champion_score": champion_score, "popularity_score": 0.08,
            "judged_at": at + timedelta(days=int(version)),
        }  # fmt: skip
        lake.append(MODEL_VERDICTS, [common | verdict])
    for version, previous in (("1", None), ("2", "1")):
        change = {
            "run_id": "r", "changed_at": at + timedelta(days=int(version)), "action": "promoted", "version": version,
            "model": "als", "previous_version": previous, "by": "gate 2", "why": why,
        }  # fmt: skip
        lake.append(CHAMPIONS, [change])


def plant_bad_record(project: Project, raw: str, detail: str) -> str:
    """A record of an event that is in bronze and in quarantine -> its row id."""
    row_id = hashlib.sha256(raw.encode()).hexdigest()
    bronze = {
        "row_id": row_id, "source": "ratings", "raw": raw, "file": "a.jsonl", "file_modified_at": now(),
        "ingested_at": now(), "night": NEXT,
    }  # fmt: skip
    bad = {
        "row_id": row_id, "kind": "events", "source": "ratings", "reason": "unknown_event", "detail": detail,
        "raw": raw, "file": "a.jsonl", "night": NEXT, "state": "waiting",
    }  # fmt: skip
    project.night().lake.append(BRONZE_EVENTS, [bronze])
    project.night().lake.append(QUARANTINE_ROWS, [bad])
    return row_id


def path_of(url: str) -> str:
    """An address without its query."""
    return urlsplit(url).path
