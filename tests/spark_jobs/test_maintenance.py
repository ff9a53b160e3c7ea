"""maintenance.py: what is deleted and compacted, what must stay, and that no stage sees a change."""

import os
import re
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import (
    BRONZE_EVENTS,
    HISTORIES,
    INTERACTIONS,
    ITEM_DAYS,
    ITEM_STATS,
    ITEMS,
    POPULAR,
    STAGES,
    STORAGE,
)
from nightloom.lake import now
from serving.stores import open_store, versions
from serving.stores.pushes import Push, PushState
from spark_jobs import (
    gold_histories,
    gold_item_days,
    gold_item_stats,
    maintenance,
    silver_interactions,
    silver_items,
    storage,
)
from tests.spark_jobs.small_project import D, Project, event, frame, project
from tests.spark_jobs.small_project import popular_lists as popular
from tests.spark_jobs.test_gold import touch

GOLD = (gold_histories.main, gold_item_days.main, gold_item_stats.main)


def with_history_days(at: Project, days: int) -> Project:
    """The project, history_days changed."""
    retention = at.settings.retention.model_copy(update={"history_days": days})
    return Project(at.settings.model_copy(update={"retention": retention}), at.spark)


def run_maintenance(at: Project) -> dict[str, str]:
    """Run the maintenance -> its actions by table."""
    at.run(maintenance.main)
    last = max(row["measured_at"] for row in at.rows(STORAGE))
    return {row["table"]: row["actions"] for row in at.rows(STORAGE) if row["measured_at"] == last}


def record_run(at: Project, stage: str, **columns: Any) -> None:
    """A row of ops.stages, as the stage's frame would have left it."""
    row: dict[str, Any] = {
        "run_id": f"test-{D}", "night": D, "stage": stage, "status": "ok", "started_at": now(), "seconds": 1.0,
        "reads": [], "writes": [], "rows": [], "tags": [], "code": "c", "config": "d", "error": None,
    }  # fmt: skip
    at.night().lake.append(STAGES, [row | columns])


def publish(at: Project, inputs: dict[str, int]) -> Push:
    """A serving version whose record names these table versions as its inputs."""
    store = open_store(at.settings)
    with store.exclusive_lock():
        meta = {"inputs": inputs, "night": str(D), "published_at": now().isoformat(), "model_version": "1"}
        push = versions.begin_push(store, str(D), f"test-{D}")
        return versions.flip(store, versions.set_state(store, push, PushState.VERIFIED, **meta))


def test_small_files_are_compacted_and_no_stage_sees_a_change(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "EXCESS", 1)
    at = project(tmp_path, spark)
    for n in range(2):
        at.ingest(event(n), file=f"{n}.jsonl")
        at.run(silver_interactions.main)
    at.run(*GOLD)
    lake, tables = at.night().lake, (BRONZE_EVENTS, INTERACTIONS)
    gold = {table: lake.version(table) for table in (HISTORIES, ITEM_DAYS, ITEM_STATS)}
    before = {table: (at.rows(table), storage.measure_storage(lake, table).files) for table in tables}
    done = run_maintenance(at)
    for table in tables:
        assert done[table.full_name] == f"compacted: {before[table][1]} files -> 1"
        assert at.rows(table) == before[table][0]
    assert "silver.interactions v" in capsys.readouterr().out
    assert at.run(silver_interactions.main)["read"] == 0
    at.run(*GOLD)
    assert {table: lake.version(table) for table in gold} == gold
    assert "gold.item_stats: unchanged" in capsys.readouterr().out
    assert {did for name, did in run_maintenance(at).items() if name.split(".")[0] != "ops"} == {"nothing"}


def test_old_versions_go_except_those_behind_a_retained_list_and_unconsumed_changes(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = with_history_days(project(tmp_path, spark), days=0)
    lake = at.night().lake
    versions_of: dict[str, list[int]] = {"lists": [], "items": []}
    for n in range(3):
        at.night().replace(POPULAR, popular(spark, str(n)))
        versions_of["lists"].append(lake.version(POPULAR))
        record_run(at, "spark_jobs.gold_popular", reads=[(ITEMS.full_name, n)])
    kept = versions_of["lists"][1]
    publish(at, {POPULAR.full_name: kept})
    done = run_maintenance(at)
    assert done["gold.popular"].startswith("removed ")
    assert lake.rows(POPULAR, version=kept)["items"].to_pylist() == [["1"]]
    assert lake.rows(POPULAR)["items"].to_pylist() == [["2"]]
    with pytest.raises(Exception, match="Failed to fetch metadata for file"):  # the library raises no kind of its own
        lake.rows(POPULAR, version=versions_of["lists"][0])


def test_rows_past_the_contracts_retention_are_deleted_counted_from_the_newest_and_never_those_served(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    lake, days = at.night().lake, POPULAR.retention_days
    assert days is not None
    at.night().create(POPULAR)
    for back in (0, days, days + 1, days + 2):
        row = {"night": D - timedelta(days=back), "segment": "all", "items": ["i"], "scores": [1.0]}
        lake.append(POPULAR, [row])
    served = versions_served(at, D - timedelta(days=days + 1))
    done = run_maintenance(at)
    assert done["gold.popular"] == f"deleted 1 rows from before {served}"
    assert sorted(row["night"] for row in at.rows(POPULAR)) == [served, D - timedelta(days=days), D]


def versions_served(at: Project, night: date) -> date:
    store = open_store(at.settings)
    with store.exclusive_lock():
        meta = {"inputs": {}, "night": str(night), "published_at": now().isoformat(), "model_version": "1"}
        push = versions.begin_push(store, str(night), "test")
        versions.flip(store, versions.set_state(store, push, PushState.VERIFIED, **meta))
    return night


def test_files_that_all_hold_the_same_days_are_ordered_by_time(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = project(tmp_path, spark)
    night = at.night()
    night.create(INTERACTIONS)
    rows = [touch(n, event="rating", row_id="r", night=D) for n in range(64)]
    for place in range(8):
        mixed = frame(spark, rows[place::8], INTERACTIONS)
        mixed.coalesce(1).write.format("delta").mode("append").save(night.lake.path(INTERACTIONS))
    before = storage.measure_storage(night.lake, INTERACTIONS)
    assert before.needs_ordering
    assert before.depth == pytest.approx(8, abs=1)
    assert run_maintenance(at)["silver.interactions"] == "ordered by occurred_at: 8 files -> 1"
    assert not storage.measure_storage(night.lake, INTERACTIONS).needs_ordering
    assert len(at.rows(INTERACTIONS)) == 64


def test_the_log_is_cut_at_a_checkpoint_and_no_further_than_a_needed_version(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    lake = at.night().lake
    row = {"segment": "all", "items": ["i"], "scores": [1.0]}
    at.night().create(POPULAR)
    for n in range(14):
        lake.append(POPULAR, [row | {"night": D - timedelta(days=n)}])
        if n == 9:
            lake.open(POPULAR).create_checkpoint()
    log = Path(lake.path(POPULAR)) / "_delta_log"
    aged(log, 12, days=40)
    publish(at, {POPULAR.full_name: 3})
    assert run_maintenance(at)["gold.popular"] == "nothing"
    versions.delete_version(open_store(at.settings), versions.list_pushes(open_store(at.settings))[0])
    assert "files of the log older than 31 days" in run_maintenance(at)["gold.popular"]
    assert lake.rows(POPULAR, version=12).num_rows == 12
    assert lake.rows(POPULAR).num_rows == 14


def aged(log: Path, up_to: int, days: int) -> None:
    """Make the log's entries look older."""
    moment = time.time() - days * 86_400
    for file in log.glob("*.json"):
        if file.stem.isdigit() and int(file.stem) <= up_to:
            file.write_text(re.sub(r'"timestamp":\d+', f'"timestamp":{moment * 1000:.0f}', file.read_text()))
            os.utime(file, (moment, moment))


def test_unconsumed_changes_stay_readable_when_nothing_else_is_retained(spark: SparkSession, tmp_path: Path) -> None:
    at = with_history_days(project(tmp_path, spark), days=0)
    at.ingest({"item_id": "i1", "title": "One"}, kind="items", file="a.jsonl")
    at.run(silver_items.main)
    at.ingest({"item_id": "i2", "title": "Two"}, kind="items", file="b.jsonl")
    run_maintenance(at)
    assert at.run(silver_items.main)["inserted"] == 1
    assert [row["title"] for row in at.rows(ITEMS)] == ["One", "Two"]
