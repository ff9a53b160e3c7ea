"""stores/lease.py: a push that stood still longer than its lock lasts changes nothing; and a server that is killed."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.fault_load import publish
from benchmarks.servers import Server, free_port, redis_server
from nightloom.errors import StoreError
from nightloom.lake import Lake
from nightloom.night import records, stages
from serving.stores import Store, lease, versions
from serving.stores.pushes import PushState
from tests.serving.sample_stores import CASSANDRA, open_store_at, sample_rows, start_server
from tests.serving.test_stores import wait_for_the_lock

if TYPE_CHECKING:
    from tests.serving.conftest import Project

SECONDS = 2.0
"""Instead of LOCK_SECONDS."""


def push_and_stand_still(
    kind: str, place: str, reached: Event, go: Event, words: multiprocessing.Queue[list[str]]
) -> None:
    """Load a version in two steps, then flip to it -> the error of each step."""
    lease.LOCK_SECONDS = SECONDS
    store, errors = open_store_at(kind, place), list[str]()
    try:
        with store.exclusive_lock():
            push = versions.begin_push(store, "2026-03-14", "stopped")
            store.begin_load(push.version)
            part = next(sample_rows(push.version, "users"))
            store.load_part(push.version, ("users", 0), part)
            push = versions.set_state(store, push, PushState.VERIFIED)
            reached.set()
            assert go.wait(60)
            for step in (
                lambda: store.load_part(push.version, ("users", 1), part),
                lambda: versions.flip(store, push),
                lambda: store.delete_rows(push.version),
            ):
                try:
                    step()
                except StoreError as error:
                    errors.append(str(error))
    finally:
        words.put(errors)


@pytest.mark.parametrize("kind", ["redis", CASSANDRA])
def test_a_push_that_was_stopped_longer_than_its_lock_lasts_neither_writes_nor_flips(kind: str, tmp_path: Path) -> None:
    with start_server(kind, tmp_path) as address:
        place, spawn = f"{address}#fenced", multiprocessing.get_context("spawn")
        store, reached, go, words = open_store_at(kind, place), spawn.Event(), spawn.Event(), spawn.Queue()
        stopped = spawn.Process(target=push_and_stand_still, args=(kind, place, reached, go, words))
        stopped.start()
        assert reached.wait(60)
        assert stopped.pid is not None
        os.kill(stopped.pid, signal.SIGSTOP)
        wait_for_the_lock(store)
        served = publish(store, 1)
        os.kill(stopped.pid, signal.SIGCONT)
        go.set()
        errors = words.get(timeout=60)
        stopped.join()
        assert versions.current_version(store) == served.version
        assert versions.list_pushes(store) == [versions.read_push(store, served.version)]
    assert len(errors) == 3
    assert all("this push lost its lock" in error for error in errors)


def test_a_server_that_is_killed_during_a_push_fails_it_with_its_reason(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.configure("keep = 3", 'keep = 3\nkind = "redis"\nrows_per_second = 8')
    with redis_server(tmp_path / "redis") as server:
        monkeypatch.setenv("NIGHTLOOM_PLACES__STORE_URL", server.address)
        project.plant_all().judge()
        killing = threading.Thread(target=kill_during_push, args=(project.store, server))
        killing.start()
        with pytest.raises(SystemExit) as left:
            project.publish()
        killing.join()
    assert left.value.code == 1
    assert "the store has no record of it" in capsys.readouterr().err
    run = records.stage_runs(Lake(project.settings.place("lake")), stages.PUBLISH)[-1]
    assert run.tags["push"] == "FAILED: store"


def test_a_load_that_begins_while_redis_is_away_fails_with_its_address() -> None:
    store = open_store_at("redis", f"redis://127.0.0.1:{free_port()}#away")
    with pytest.raises(StoreError, match=re.escape(store.location)):
        store.begin_load(1)


def kill_during_push(store: Store, server: Server) -> None:
    deadline = time.monotonic() + 60
    while not versions.list_pushes(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    server.kill()
