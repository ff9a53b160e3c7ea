"""stores/versions.py: push records, pointer, lock, and what a kill leaves."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.files import Files
from serving.stores.versions import PinnedError, Reason, State


def pushed(store: Files, state: State = State.CURRENT) -> versions.Push:
    """A version brought as far as `state`."""
    push = versions.begin(store, "1998-04-21", "run")
    store.begin(push.version)
    for reached in (State.LOADED, State.VERIFIED):
        if push.state == state:
            return push
        push = versions.write(store, push, reached)
    return versions.flip(store, push) if state == State.CURRENT else push


@pytest.fixture
def store(tmp_path: Path) -> Files:
    tmp_path.joinpath("notes").mkdir()
    return Files(tmp_path)


def states(store: Files) -> dict[int, str]:
    return {push.version: push.state for push in versions.pushes(store)}


def test_a_flip_makes_the_version_before_a_backup(store: Files) -> None:
    pushed(store)
    pushed(store)
    assert versions.current(store) == 2
    assert states(store) == {1: State.BACKUP, 2: State.CURRENT}


def test_what_is_not_verified_cannot_become_current(store: Files) -> None:
    with pytest.raises(StoreError, match="LOADED; only a VERIFIED version"):
        versions.flip(store, pushed(store, State.LOADED))
    assert versions.current(store) is None


@pytest.mark.parametrize("state", [State.STARTED, State.LOADED, State.VERIFIED])
def test_what_a_killed_push_left_is_cleared_by_the_next_and_its_number_is_not_used_again(
    store: Files, state: State
) -> None:
    pushed(store)
    pushed(store, state)
    assert pushed(store).version == 3
    assert states(store) == {1: State.BACKUP, 3: State.CURRENT}
    assert not store.folder(2).exists()


def test_killed_while_clearing_the_rest_is_cleared_later_and_is_no_version_meanwhile(store: Files) -> None:
    pushed(store)
    pushed(store)
    store.write("gone-v000001", "")
    store.write("v000001", None)
    assert (states(store), store.folder(1).exists()) == ({2: State.CURRENT}, True)
    assert versions.settle(store) == ["cleared v000001"]
    assert not store.folder(1).exists()


def test_killed_right_after_the_flip_the_records_catch_up(store: Files) -> None:
    pushed(store)
    push = pushed(store, State.VERIFIED)
    store.write("CURRENT", versions.name(push.version))
    versions.settle(store)
    assert states(store) == {1: State.BACKUP, 2: State.CURRENT}


def test_a_rollback_serves_the_backup_and_the_bad_version_never_comes_back(store: Files) -> None:
    for _ in range(3):
        pushed(store)
    assert versions.rollback(store, "ann: wrong prices") == (3, 2)
    assert versions.rollback(store, "ann: these too") == (2, 1)
    assert states(store) == {1: State.CURRENT, 2: State.ROLLED_BACK, 3: State.ROLLED_BACK}
    with pytest.raises(StoreError, match="v000001 has no backup"):
        versions.rollback(store, "ann: all of it")
    assert versions.current(store) == 1
    assert pushed(store).version == 4


def test_a_rollback_killed_before_its_flip_is_finished_by_the_next_push(store: Files) -> None:
    pushed(store)
    pushed(store)
    versions.write(store, versions.read(store, 2), State.ROLLED_BACK)
    versions.settle(store)
    assert versions.current(store) == 1
    assert states(store) == {1: State.CURRENT, 2: State.ROLLED_BACK}


def test_only_so_many_versions_are_kept(store: Files) -> None:
    for _ in range(5):
        pushed(store)
    assert versions.prune(store, keep=3) == [1, 2]
    assert sorted(states(store)) == [3, 4, 5]


def test_a_failed_push_keeps_its_record_with_the_reason_and_no_data(store: Files) -> None:
    push = pushed(store, State.LOADED)
    versions.fail(store, push, Reason.QUOTA, "too large")
    assert not store.folder(push.version).exists()
    assert (versions.read(store, 1).state, versions.read(store, 1).reason) == (State.FAILED, Reason.QUOTA)


def test_a_pinned_version_is_served_until_it_is_unpinned(store: Files) -> None:
    for _ in range(3):
        pushed(store)
    versions.pin(store, 1, "ann: the last good one")
    assert states(store) == {1: State.CURRENT, 2: State.BACKUP, 3: State.BACKUP}
    with pytest.raises(PinnedError, match=r"v000001 is pinned \(ann: the last good one\) and stays"):
        pushed(store)
    assert versions.prune(store, keep=2) == []
    assert versions.current(store) == 1
    versions.unpin(store)
    assert pushed(store).version == 5
    with pytest.raises(StoreError, match="no version is pinned"):
        versions.unpin(store)


def test_a_pinned_version_outlives_those_that_are_newer_than_it(store: Files) -> None:
    for _ in range(4):
        pushed(store)
    versions.pin(store, 1, "ann: the last good one")
    assert versions.prune(store, keep=2) == [2]
    assert states(store) == {1: State.CURRENT, 3: State.BACKUP, 4: State.BACKUP}


def test_only_what_was_served_can_be_pinned(store: Files) -> None:
    pushed(store)
    versions.fail(store, pushed(store, State.LOADED), Reason.CHECKSUM, "bad disk")
    with pytest.raises(StoreError, match="v000002 is FAILED; only a version that was once served can be pinned"):
        versions.pin(store, 2, "ann: why not")
    with pytest.raises(StoreError, match="no version v000009; `nightloom publish list` shows"):
        versions.pin(store, 9, "ann: why not")


def test_a_rolled_back_version_is_served_again_only_by_a_named_override(store: Files) -> None:
    pushed(store)
    pushed(store)
    versions.rollback(store, "ann: wrong prices")
    with pytest.raises(StoreError, match=r"v000002 was rolled back .ann: wrong prices.*--override"):
        versions.pin(store, 2, "bob: I like it")
    assert versions.current(store) == 1
    push = versions.pin(store, 2, "bob: I like it", override="bob: the prices were right")
    assert (versions.current(store), push.note) == (2, "ann: wrong prices; overridden: bob: the prices were right")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_called_and_killed_no_rolled_back_version_comes_back(store: Files, seed: int) -> None:
    dice, bad = random.Random(seed), set[int]()
    pushed(store)
    for _ in range(30):
        command: Any = dice.choice([pushed, rolled, pinned, versions.unpin, versions.settle, killed])
        try:
            command(store, dice) if command in (pinned, killed) else command(store)
        except StoreError:
            continue  # nothing to roll back to, a pin, a version that cannot be pinned: that is an answer too
        finally:
            bad |= {version for version, state in states(store).items() if state == State.ROLLED_BACK}
            versions.prune(store, 4)
        versions.settle(store)
        assert versions.current(store) not in bad
        assert list(states(store).values()).count(State.CURRENT) == 1


def rolled(store: Files) -> None:
    versions.rollback(store, "ann: test")


def pinned(store: Files, dice: random.Random) -> None:
    versions.pin(store, dice.choice(sorted(states(store))), "ann: test")


class Killed(StoreError):
    """Instead of the next write."""


def killed(store: Files, dice: random.Random) -> None:
    """A push or a rollback whose process ends before one of its writes."""
    left, write = dice.randrange(6), store.write

    def until_then(name: str, text: str | None) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed("killed")
        write(name, text)

    store.write = until_then  # type: ignore[method-assign]  # the same store, but for the end
    try:
        pushed(store) if dice.random() < 0.5 else rolled(store)
    finally:
        store.write = write  # type: ignore[method-assign]


def test_a_state_that_this_code_does_not_know_is_left_alone(store: Files) -> None:
    pushed(store)
    record = store.root / "notes" / versions.name(pushed(store, State.STARTED).version)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "MIRRORED"}))
    assert versions.settle(store) == []
    assert states(store) == {1: State.CURRENT, 2: "MIRRORED"}


def test_a_damaged_pointer_is_an_error_that_says_so(store: Files) -> None:
    store.write("CURRENT", "rubbish")
    with pytest.raises(StoreError, match="says 'rubbish', expected a version"):
        versions.current(store)
