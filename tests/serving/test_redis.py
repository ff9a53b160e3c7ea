"""stores/redis.py, its own features: a push that stood still longer than its lock lasts changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.fault_load import publish
from nightloom.errors import StoreError
from serving.stores import redis, versions
from serving.stores.pushes import PushState
from tests.serving.sample_stores import open_store_at, sample_rows, start_server
from tests.serving.test_stores import wait_for_the_lock

SECONDS = 1.0
"""Instead of LOCK_SECONDS."""


def push_and_stand_still(place: str, reached: Event, go: Event, words: multiprocessing.Queue[list[str]]) -> None:
    """Load a version in two steps, then flip to it -> the error of each step."""
    redis.LOCK_SECONDS = SECONDS
    store, errors = open_store_at("redis", place), list[str]()
    try:
        with store.exclusive_lock():
            push = versions.begin_push(store, "2026-03-14", "stopped")
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


def test_a_push_that_was_stopped_longer_than_its_lock_lasts_neither_writes_nor_flips(tmp_path: Path) -> None:
    with start_server("redis", tmp_path) as address:
        place, spawn = f"{address}#fenced", multiprocessing.get_context("spawn")
        store, reached, go, words = open_store_at("redis", place), spawn.Event(), spawn.Event(), spawn.Queue()
        stopped = spawn.Process(target=push_and_stand_still, args=(place, reached, go, words))
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
