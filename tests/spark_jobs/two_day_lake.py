"""A lake of two days for tests of the marts and of table readers: rows in every table, as the stages write them."""

from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from deltalake import write_deltalake
from pyspark.sql import SparkSession

from nightloom import contracts as T
from nightloom.lake import arrow, now
from nightloom.night import stages
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from spark_jobs import gold_histories, gold_item_days, gold_item_stats, gold_popular, marts
from tests.spark_jobs.small_project import NEXT, TOML, D, Project, Row, project

SLATE = "\n[slate]\nk = 2\nstored = 4\n"
AFTER = NEXT + timedelta(days=1)


def like(day: date, n: int, user: str, **columns: Any) -> Row:
    """A liked event of item iN, at noon of a day; it came in that day's night."""
    given = {"event_id": f"e{n}", "user_id": user, "item_id": f"i{n}", "event": "rating", "value": 5.0, "weight": 1.0}
    moment = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return given | {"occurred_at": moment, "rescued": None, "row_id": f"r{n}", "night": day} | columns


def add_events(at: Project, *events: Row, day: date = NEXT) -> None:
    """Add events to silver and build the night's item days."""
    at.night().lake.append(T.INTERACTIONS, events)
    at.run(gold_item_days.main, day=day)


def lists(at: Project, night: date, of_users: dict[str, list[str]]) -> None:
    """Replace a night's rows of gold.recommendations."""
    fixed = {"night": night, "model_version": "1", "generated_at": now(), "full_night": night}
    rows = [fixed | {"user_id": user, "items": items, "scores": [1.0] * len(items)} for user, items in of_users.items()]
    table, lake = T.RECOMMENDATIONS, at.night().lake
    lake.create(table)
    write_deltalake(lake.path(table), arrow(table, rows), mode="overwrite", predicate=f"night = '{night}'")


def bronze_and_gates(at: Project, night: date, rows: int, *faults: tuple[str, str]) -> None:
    """Event rows of a night in bronze, some in quarantine as (kind, reason), and a gate's results of two attempts."""
    fixed = {"source": "ratings", "raw": "{}", "file": "f", "night": night}
    moments = {"file_modified_at": now(), "ingested_at": now(), "lines": None, "problem": None, "file_summary": None}
    taken = [fixed | moments | {"row_id": sha256(f"{night}{n}".encode()).hexdigest()} for n in range(rows)]
    fates = {"detail": "why", "state": "waiting", "replayed_as": None, "decided_at": None, "decided_by": None}
    bad = [
        fixed | fates | {"row_id": f"{night}{n}", "kind": kind, "reason": why} for n, (kind, why) in enumerate(faults)
    ]
    lake = at.night().lake
    lake.append(T.BRONZE_EVENTS, taken)
    lake.append(T.QUARANTINE_ROWS, bad) if bad else None
    for found in ("bad", "good"):
        record_and_enforce(
            at.night(night),
            stages.DATA_GATE,
            [Check("rows", found == "good", found, "good", "warn"), Check("all", True, "", "")],
        )


CLOSED = {
    "run_id": "r", "night": D - timedelta(days=1), "stage": stages.DATA_GATE.name, "status": "closed",
    "started_at": now(), "seconds": 1.0, "reads": [], "writes": [], "rows": [], "tags": [], "code": "c", "config": "d",
    "error": "closed",
}  # fmt: skip
"""A stage of a night that ended before its marts."""


def two_days(folder: Path, spark: SparkSession) -> Project:
    """Two days: u1 and u2 come on the first, u2, u3 and u9 on the second; lists of the first for u1, u2, u3."""
    at = project(folder, spark, TOML + SLATE)
    item = {"title": "t", "categories": [], "attributes": [], "updated_at": now(), "row_id": "r", "night": D}
    user = {"attributes": [("job", "cook")], "updated_at": now(), "row_id": "r", "night": D}
    at.night().lake.append(T.ITEMS, [item | {"item_id": f"i{n}", "available": n != 9} for n in range(1, 10)])
    at.night().lake.append(T.USERS, [user | {"user_id": "u2"}])
    bronze_and_gates(at, D, 4, ("events", "unreadable"), ("items", "type"))
    add_events(at, like(D, 1, "u1"), like(D, 2, "u2"), like(D, 3, "u2", event="view", weight=0.2), day=D)
    at.run(gold_item_stats.main, gold_popular.main)
    lists(at, D, {"u1": ["i1", "i6"], "u2": ["i4", "i6", "i5"], "u3": ["i7", "i1", "i2", "i8"]})
    beside = {"night": D, "item_id": "i1", "items": ["i6"], "scores": [1.0], "model_version": "1"}
    at.night().lake.append(T.SIMILAR_ITEMS, [beside])
    at.run(marts.main)
    at.night().lake.append(T.STAGES, [CLOSED])
    bronze_and_gates(at, NEXT, 6, ("events", "missing"))
    again = {"row_id": "r", "kind": "events", "source": "ratings", "outcome": "duplicate", "detail": "e1"}
    at.night().lake.append(T.UNUSED_ROWS, [again | {"occurred_at": now(), "night": NEXT}])
    add_events(
        at,
        like(NEXT, 4, "u2"),
        like(NEXT, 5, "u2"),
        like(NEXT, 6, "u3", weight=0.0),
        like(NEXT, 7, "u9"),
    )
    at.run(gold_histories.main, marts.main, day=NEXT)
    return at
