"""stores/versions.py: push records, pointer, lock, and what a kill leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.versions import PushError, Reason, State


def pushed(store: Path, state: State = State.CURRENT) -> versions.Push:
    """A version brought as far as `state`."""
    push = versions.begin(store, "1998-04-21", "run")
    for reached in (State.LOADED, State.VERIFIED):
        if push.state == state:
            return push
        push = versions.write(store, push, reached)
    return versions.flip(store, push) if state == State.CURRENT else push


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path


def states(store: Path) -> dict[int, str]:
    return {push.version: push.state for push in versions.pushes(store)}


def test_a_flip_makes_the_version_before_a_backup(store: Path) -> None:
    pushed(store)
    pushed(store)
    assert versions.current(store) == 2
    assert states(store) == {1: State.BACKUP, 2: State.CURRENT}


def test_what_is_not_verified_cannot_become_current(store: Path) -> None:
    with pytest.raises(StoreError, match="LOADED; only a VERIFIED version"):
        versions.flip(store, pushed(store, State.LOADED))
    assert versions.current(store) is None


@pytest.mark.parametrize("state", [State.STARTED, State.LOADED, State.VERIFIED])
def test_what_a_killed_push_left_is_cleared_and_its_number_is_not_used_again(store: Path, state: State) -> None:
    pushed(store)
    pushed(store, state)
    assert versions.settle(store) == ["cleared v000002, which was not finished"]
    assert pushed(store).version == 3


def test_a_folder_without_a_record_is_cleared(store: Path) -> None:
    (store / "v000004").mkdir()
    versions.settle(store)
    assert not (store / "v000004").exists()


def test_killed_right_after_the_flip_the_records_catch_up(store: Path) -> None:
    pushed(store)
    push = pushed(store, State.VERIFIED)
    versions._point(store, push.version)
    versions.settle(store)
    assert states(store) == {1: State.BACKUP, 2: State.CURRENT}


def test_a_rollback_serves_the_backup_and_the_bad_version_never_comes_back(store: Path) -> None:
    for _ in range(3):
        pushed(store)
    assert versions.rollback(store, "ann: wrong prices") == (3, 2)
    assert versions.rollback(store, "ann: these too") == (2, 1)
    assert states(store) == {1: State.CURRENT, 2: State.ROLLED_BACK, 3: State.ROLLED_BACK}
    with pytest.raises(StoreError, match="v000001 has no backup"):
        versions.rollback(store, "ann: all of it")
    assert versions.current(store) == 1
    assert pushed(store).version == 4


def test_a_rollback_killed_before_its_flip_is_finished_by_the_next_push(store: Path) -> None:
    pushed(store)
    pushed(store)
    versions.write(store, versions.read(store, 2), State.ROLLED_BACK)
    versions.settle(store)
    assert versions.current(store) == 1
    assert states(store) == {1: State.CURRENT, 2: State.ROLLED_BACK}


def test_only_so_many_versions_are_kept(store: Path) -> None:
    for _ in range(5):
        pushed(store)
    assert versions.prune(store, keep=3) == [1, 2]
    assert sorted(states(store)) == [3, 4, 5]


def test_a_failed_push_keeps_its_record_with_the_reason_and_no_data(store: Path) -> None:
    push = pushed(store, State.LOADED)
    (versions.folder(store, push.version) / "data.mdb").write_bytes(b"x")
    versions.fail(store, push, Reason.QUOTA, "too large")
    assert [file.name for file in versions.folder(store, 1).iterdir()] == ["push.json"]
    assert (versions.read(store, 1).state, versions.read(store, 1).reason) == (State.FAILED, Reason.QUOTA)


def test_a_state_that_this_code_does_not_know_is_left_alone(store: Path) -> None:
    pushed(store)
    record = versions.folder(store, pushed(store, State.STARTED).version) / "push.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "MIRRORED"}))
    assert versions.settle(store) == []
    assert states(store) == {1: State.CURRENT, 2: "MIRRORED"}


def test_a_damaged_pointer_is_an_error_that_says_so(store: Path) -> None:
    (store / "CURRENT").write_text("rubbish")
    with pytest.raises(StoreError, match="says 'rubbish', expected a version"):
        versions.current(store)


def test_of_two_pushes_at_once_one_is_told(store: Path) -> None:
    with (
        versions.exclusive(store),
        pytest.raises(PushError, match=f"another push is under way .process {os.getpid()}") as told,
        versions.exclusive(store),
    ):
        pass
    assert told.value.reason == Reason.CONCURRENT_PUSH


def hold(store: Path, held: multiprocessing.synchronize.Event) -> None:
    with versions.exclusive(store):
        held.set()
        signal.pause()


def test_the_lock_ends_with_a_killed_process(store: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    holder = spawn.Process(target=hold, args=(store, held))
    holder.start()
    assert held.wait(20)
    holder.kill()
    holder.join()
    with versions.exclusive(store):
        pass
