"""stores/versions.py: push records, pointer, lock, and recovery after a kill."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.files import FilesStore
from serving.stores.pushes import POINTER, FailureReason, PinnedError, Push, PushState, version_name
from serving.stores.reader import Reader
from tests.serving.sample_stores import sample_rows


def push_until(store: FilesStore, state: PushState = PushState.CURRENT) -> Push:
    """A version brought as far as `state`."""
    push = versions.begin_push(store, "1998-04-21", "run")
    store.begin_load(push.version)
    store.load_part(push.version, ("popular", 0), next(sample_rows(push.version, "popular")))
    for reached in (PushState.LOADED, PushState.VERIFIED):
        if push.state == state:
            return push
        push = versions.set_state(store, push, reached)
    return versions.flip(store, push) if state == PushState.CURRENT else push


@pytest.fixture
def store(tmp_path: Path) -> FilesStore:
    tmp_path.joinpath("notes").mkdir()
    return FilesStore(str(tmp_path), "sample")


def states(store: FilesStore) -> dict[int, str]:
    return {push.version: push.state for push in versions.list_pushes(store)}


def test_a_flip_makes_the_version_before_a_backup(store: FilesStore) -> None:
    push_until(store)
    push_until(store)
    assert versions.current_version(store) == 2
    assert states(store) == {1: PushState.BACKUP, 2: PushState.CURRENT}


def test_versions_that_are_rolled_back_night_after_night_do_not_pile_up(store: FilesStore) -> None:
    for _ in range(2):
        push_until(store)
    for _ in range(5):
        push_until(store)
        versions.rollback(store, "ann: wrong")
        versions.fail_push(store, versions.begin_push(store, "1998-04-21", "run"), FailureReason.QUOTA, "full")
        versions.prune(store, keep=2)
    bad = {9: PushState.ROLLED_BACK, 10: PushState.FAILED, 11: PushState.ROLLED_BACK, 12: PushState.FAILED}
    assert states(store) == {1: PushState.BACKUP, 2: PushState.CURRENT} | bad
    assert {folder.name for folder in store.folder(1).parent.glob("v*")} >= {"v000001", "v000002", "v000011"}
    assert not store.folder(7).exists()


def test_an_unverified_version_cannot_become_current(store: FilesStore) -> None:
    with pytest.raises(StoreError, match="LOADED; only a VERIFIED version"):
        versions.flip(store, push_until(store, PushState.LOADED))
    assert versions.current_version(store) is None


@pytest.mark.parametrize("state", [PushState.STARTED, PushState.LOADED, PushState.VERIFIED])
def test_the_next_push_deletes_what_a_killed_one_left_and_does_not_reuse_its_number(
    store: FilesStore, state: PushState
) -> None:
    push_until(store)
    push_until(store, state)
    assert push_until(store).version == 3
    assert states(store) == {1: PushState.BACKUP, 3: PushState.CURRENT}
    assert not store.folder(2).exists()


def test_a_killed_deletion_is_finished_later_and_the_rest_is_no_version_meanwhile(store: FilesStore) -> None:
    push_until(store)
    push_until(store)
    store.write_note("gone-v000001", "")
    store.write_note("v000001", None)
    assert (states(store), store.folder(1).exists()) == ({2: PushState.CURRENT}, True)
    assert versions.recover(store) == ["cleared v000001"]
    assert not store.folder(1).exists()


def test_after_a_kill_right_after_the_flip_the_records_catch_up(store: FilesStore) -> None:
    push_until(store)
    push = push_until(store, PushState.VERIFIED)
    store.write_note("CURRENT", version_name(push.version))
    versions.recover(store)
    assert states(store) == {1: PushState.BACKUP, 2: PushState.CURRENT}


def test_a_rollback_serves_the_backup_and_the_bad_version_never_comes_back(store: FilesStore) -> None:
    for _ in range(3):
        push_until(store)
    assert versions.rollback(store, "ann: wrong prices") == (3, 2)
    assert versions.rollback(store, "ann: these too") == (2, 1)
    assert states(store) == {1: PushState.CURRENT, 2: PushState.ROLLED_BACK, 3: PushState.ROLLED_BACK}
    with pytest.raises(StoreError, match="v000001 has no backup"):
        versions.rollback(store, "ann: all of it")
    assert versions.current_version(store) == 1
    assert push_until(store).version == 4


def test_a_rollback_killed_before_its_flip_is_finished_by_the_next_push(store: FilesStore) -> None:
    push_until(store)
    push_until(store)
    versions.set_state(store, versions.read_push(store, 2), PushState.ROLLED_BACK)
    versions.recover(store)
    assert versions.current_version(store) == 1
    assert states(store) == {1: PushState.CURRENT, 2: PushState.ROLLED_BACK}


def test_only_the_configured_number_of_versions_is_retained(store: FilesStore) -> None:
    for _ in range(5):
        push_until(store)
    assert versions.prune(store, keep=3) == [1, 2]
    assert sorted(states(store)) == [3, 4, 5]


def test_a_push_whose_pointer_was_written_without_an_answer_keeps_its_rows(
    store: FilesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_until(store)
    push, write = push_until(store, PushState.VERIFIED), store.write_note

    def unanswered(name: str, text: str | None) -> None:
        write(name, text)
        if name == POINTER:
            raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_note", unanswered)
        with pytest.raises(StoreError, match="no answer"):
            versions.flip(store, push)
    with pytest.raises(StoreError, match="v000002 is what readers get"):
        versions.fail_push(store, push, FailureReason.STORE, "no answer")
    assert store.folder(2).exists()
    versions.recover(store)
    assert states(store) == {1: PushState.BACKUP, 2: PushState.CURRENT}


def test_a_failed_push_keeps_its_record_with_the_reason_and_no_data(store: FilesStore) -> None:
    push = push_until(store, PushState.LOADED)
    versions.fail_push(store, push, FailureReason.QUOTA, "too large")
    assert not store.folder(push.version).exists()
    assert (versions.read_push(store, 1).state, versions.read_push(store, 1).reason) == (
        PushState.FAILED,
        FailureReason.QUOTA,
    )


def test_a_pinned_version_is_served_until_it_is_unpinned(store: FilesStore) -> None:
    for _ in range(3):
        push_until(store)
    versions.pin(store, 1, "ann: the last good one")
    assert states(store) == {1: PushState.CURRENT, 2: PushState.BACKUP, 3: PushState.BACKUP}
    with pytest.raises(PinnedError, match=r"v000001 is pinned \(ann: the last good one\) and stays"):
        push_until(store)
    assert versions.prune(store, keep=2) == []
    assert versions.current_version(store) == 1
    versions.unpin(store)
    assert push_until(store).version == 5
    with pytest.raises(StoreError, match="no version is pinned"):
        versions.unpin(store)


def test_a_pinned_version_outlives_those_that_are_newer_than_it(store: FilesStore) -> None:
    for _ in range(4):
        push_until(store)
    versions.pin(store, 1, "ann: the last good one")
    assert versions.prune(store, keep=2) == [2]
    assert states(store) == {1: PushState.CURRENT, 3: PushState.BACKUP, 4: PushState.BACKUP}


def test_only_a_version_that_was_served_can_be_pinned(store: FilesStore) -> None:
    push_until(store)
    versions.fail_push(store, push_until(store, PushState.LOADED), FailureReason.CHECKSUM, "bad disk")
    with pytest.raises(StoreError, match="v000002 is FAILED; only a version that was once served can be pinned"):
        versions.pin(store, 2, "ann: why not")
    with pytest.raises(StoreError, match="no version v000009; `nightloom publish list` shows"):
        versions.pin(store, 9, "ann: why not")


def test_a_rolled_back_version_is_served_again_only_by_a_named_override(store: FilesStore) -> None:
    push_until(store)
    push_until(store)
    versions.rollback(store, "ann: wrong prices")
    with pytest.raises(StoreError, match=r"v000002 was rolled back .ann: wrong prices.*--override"):
        versions.pin(store, 2, "bob: I like it")
    assert versions.current_version(store) == 1
    push = versions.pin(store, 2, "bob: I like it", override="bob: the prices were right")
    assert (versions.current_version(store), push.note) == (
        2,
        "ann: wrong prices; overridden: bob: the prices were right",
    )


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_called_and_killed_no_rolled_back_version_comes_back(store: FilesStore, seed: int) -> None:
    dice, bad = random.Random(seed), set[int]()
    push_until(store)
    for _ in range(30):
        command: Any = dice.choice(
            [push_until, roll_back, pin_any, versions.unpin, versions.recover, die_while_writing]
        )
        try:
            command(store, dice) if command in (pin_any, die_while_writing) else command(store)
        except StoreError:
            continue  # nothing to roll back to, a pin, a version that cannot be pinned: that is an answer too
        finally:
            bad |= {version for version, state in states(store).items() if state == PushState.ROLLED_BACK}
            versions.prune(store, 4)
        versions.recover(store)
        assert versions.current_version(store) not in bad
        assert list(states(store).values()).count(PushState.CURRENT) == 1


def roll_back(store: FilesStore) -> None:
    versions.rollback(store, "ann: test")


def pin_any(store: FilesStore, dice: random.Random) -> None:
    versions.pin(store, dice.choice(sorted(states(store))), "ann: test")


class Killed(StoreError):
    """Instead of the next write."""


def die_while_writing(store: FilesStore, dice: random.Random) -> None:
    """A push or a rollback whose process ends before one of its writes."""
    left, write = dice.randrange(6), store.write_note

    def until_then(name: str, text: str | None) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed("killed")
        write(name, text)

    store.write_note = until_then  # type: ignore[method-assign]  # the same store, but for the end
    try:
        push_until(store) if dice.random() < 0.5 else roll_back(store)
    finally:
        store.write_note = write  # type: ignore[method-assign]


def test_a_state_that_this_code_does_not_know_is_left_alone(store: FilesStore) -> None:
    push_until(store)
    record = store.root / "notes" / version_name(push_until(store, PushState.STARTED).version)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "MIRRORED"}))
    assert versions.recover(store) == []
    assert states(store) == {1: PushState.CURRENT, 2: "MIRRORED"}


def test_a_damaged_pointer_is_an_error_that_says_so(store: FilesStore) -> None:
    store.write_note("CURRENT", "rubbish")
    with pytest.raises(StoreError, match="says 'rubbish', expected a version"):
        versions.current_version(store)


@pytest.mark.parametrize("damage", [lambda record: record.write_text(""), lambda record: record.unlink()])
def test_the_next_push_replaces_a_version_whose_record_is_damaged_or_lost(
    store: FilesStore, damage: Callable[[Path], object]
) -> None:
    push_until(store)
    push_until(store)
    damage(store.root / "notes" / "v000002")
    with pytest.raises(StoreError):
        Reader(store).current()
    assert versions.recover(store) == []
    push_until(store)
    assert states(store)[1] == PushState.BACKUP
    assert states(store)[3] == PushState.CURRENT
    assert states(store).get(2) in (PushState.FAILED, None)
    assert Reader(store).current().version == 3
