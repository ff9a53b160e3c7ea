"""The versions of a store: a record of each push, and a pointer to the version that readers get.

All kinds of store share this file. An operation that a kill can interrupt is ordered so that the next push or rollback
can finish it: the pointer is the truth about what is served, the records are the truth about what may be served. Only
the holder of the lock writes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from nightloom.errors import StoreError
from nightloom.values import now
from serving.stores.base import EVERYBODY, DamagedError, Store, encode_key
from serving.stores.pointer import Pointer, key_of, parse_pointer
from serving.stores.pushes import (
    DELETING,
    LAST,
    PINNED,
    POINTER,
    SERVABLE,
    UNFINISHED,
    UNREADABLE,
    FailureReason,
    PinnedError,
    Push,
    PushError,
    PushState,
    parse_version,
    version_name,
)

NEVER = "1970-01-01T00:00:00+00:00"


def list_pushes(store: Store) -> list[Push]:
    """Every record there is, oldest first."""
    notes = store.read_notes()
    return sorted(
        (_parse_push(store, each, notes[each]) for each in notes if parse_version(each)), key=lambda push: push.version
    )


def read_push(store: Store, version: int) -> Push:
    """The record of a version. Raises StoreError when it does not exist."""
    text = store.read_note(version_name(version))
    if text is None:
        raise StoreError(
            f"{store.location}: no version {version_name(version)}; `nightloom publish list` shows those there are"
        )
    return _parse_push(store, version_name(version), text)


def served_push(store: Store) -> Push | None:
    """The record of the version that readers get; None before the first publish, and where the record is lost."""
    version = current_version(store)
    text = None if version is None else store.read_note(version_name(version))
    return None if version is None or text is None else _parse_push(store, version_name(version), text)


def is_complete(store: Store, version: int) -> bool:
    """Whether a loaded version still has all its rows."""
    text = store.read_note(version_name(version))
    return text is not None and _parse_push(store, version_name(version), text).state != PushState.FAILED


def read_pointer(store: Store) -> Pointer | None:
    """The pointer; None before the first publish. Raises StoreError when it is damaged."""
    text = store.read_note(POINTER)
    return None if text is None else parse_pointer(text, store.location)


def current_version(store: Store) -> int | None:
    """The version that readers get; None before the first publish. Raises StoreError when the pointer is damaged."""
    pointer = read_pointer(store)
    return None if pointer is None else pointer.served.version


def recover(store: Store) -> list[str]:
    """Finish what a killed push, rollback or pin left, except an unfinished load -> what was done. Under the lock."""
    done = [_finish_deletion(store, each) for each in sorted(store.read_notes()) if each.startswith(DELETING)]
    pointer = read_pointer(store)
    served = None if pointer is None else pointer.served.version
    if pointer is not None and pointer.canary is not None:
        store.write_note(POINTER, str(Pointer(pointer.served)))
        done.append("ended a canary")
    for push in list_pushes(store):
        match push.state:
            case PushState.ROLLED_BACK if push.version == served:
                done.append(f"finished the rollback to {version_name(_restore_backup(store, push.version))}")
            case PushState.VERIFIED | PushState.BACKUP if push.version == served:
                set_state(store, push, PushState.CURRENT)
            case PushState.CURRENT if push.version != served:
                set_state(store, push, PushState.BACKUP)
    return done


def begin_push(store: Store, night: str, run_id: str, **facts: Any) -> Push:
    """The record of a new version, or that of a killed load of the same rows. Under the lock.

    A new version gets a number that was never used before. The fact `source` identifies the rows; unfinished loads of
    other rows are deleted.
    """
    served = current_version(store)
    unfinished = [push for push in list_pushes(store) if push.state in UNFINISHED and push.version != served]
    same = [push for push in unfinished if facts and push.facts.get("source") == facts["source"]][-1:]
    for push in unfinished:
        if push not in same:
            delete_version(store, push)
    if same:
        return _save(store, replace(same[0], state=PushState.STARTED, run_id=run_id, changed_at=now().isoformat()))
    version = max([int(store.read_note(LAST) or 0), served or 0, *(push.version for push in list_pushes(store))]) + 1
    store.write_note(LAST, str(version))
    moment = now().isoformat()
    return _save(store, Push(version, PushState.STARTED, night, run_id, moment, moment, facts=facts))


def set_state(store: Store, push: Push, state: PushState, **facts: Any) -> Push:
    """Move a push to a state and add facts."""
    return _save(store, replace(push, state=state, changed_at=now().isoformat(), facts=push.facts | facts))


def fail_push(store: Store, push: Push, reason: FailureReason, note: str) -> Push:
    """Mark a push as failed and delete its rows; the record stays until the versions of its age are pruned.

    Raises StoreError for the version that readers get: a server may write the pointer and give no answer.
    """
    if current_version(store) == push.version:
        name = version_name(push.version)
        raise StoreError(f"{name} is what readers get, so it stays; the next push completes its record")
    failed = replace(push, state=PushState.FAILED, reason=reason, note=note, changed_at=now().isoformat())
    try:
        _save(store, failed)
    except PushError:  # no room even for the record: the rows make some
        store.delete_rows(push.version)
        return _save(store, failed)
    store.delete_rows(push.version)
    return failed


def delete_version(store: Store, push: Push) -> str:
    """Delete a version (never the one that is served)."""
    # The record goes first: after a kill in between, no half-deleted version looks complete.
    store.write_note(DELETING + version_name(push.version), "")
    store.write_note(version_name(push.version), None)
    return _finish_deletion(store, DELETING + version_name(push.version))


def flip(store: Store, push: Push) -> Push:
    """Make a VERIFIED push the current version; the one before it becomes BACKUP."""
    if push.state != PushState.VERIFIED:
        raise StoreError(f"{version_name(push.version)} is {push.state}; only a VERIFIED version can become current")
    require_unpinned(store)
    return _make_current(store, push)


def rollback(store: Store, why: str, expected: int | None = None) -> tuple[int, int]:
    """Flip back to the newest BACKUP and mark the current version ROLLED_BACK for good; ends a pin.

    Returns the bad version and the version that is served now. With `expected` another current version is an error: who
    looked at one version must not roll back the next one.
    """
    with store.exclusive_lock():
        recover(store)
        bad = current_version(store)
        if bad is None:
            raise StoreError(f"{store.location}: nothing is published, so nothing can be rolled back")
        if expected not in (None, bad):
            raise StoreError(f"{version_name(bad)} is served now, not {version_name(expected)}; look at it first")
        _newest_backup_before(store, bad)  # raises before anything is marked
        store.write_note(PINNED, None)
        # Marked before the flip: killed in between, the mark stands and recover() finishes the flip.
        _save(
            store, replace(read_push(store, bad), state=PushState.ROLLED_BACK, note=why, changed_at=now().isoformat())
        )
        return bad, _restore_backup(store, bad)


def pin(store: Store, version: int, why: str, override: str | None = None) -> Push:
    """Serve a retained version until unpin(), whatever is pushed.

    A version that was rolled back needs a named override.
    """
    with store.exclusive_lock():
        recover(store)
        push = read_push(store, version)
        if push.state == PushState.ROLLED_BACK and not override:
            raise StoreError(
                f'{version_name(version)} was rolled back ({push.note}); to serve it anyway: --override "WHO: WHY"'
            )
        if push.state not in (*SERVABLE, PushState.ROLLED_BACK):
            raise StoreError(
                f"{version_name(version)} is {push.state}; only a version that was once served can be pinned"
            )
        if not _is_readable(store, push):
            raise StoreError(f"{store.location}: the rows of {version_name(version)} are damaged; pin another version")
        store.write_note(PINNED, f"{version_name(version)} {why}")
        if push.state == PushState.ROLLED_BACK:
            push = _save(store, replace(push, state=PushState.BACKUP, note=f"{push.note}; overridden: {override}"))
        return _make_current(store, push)


def unpin(store: Store) -> None:
    """Let the next push become current again."""
    with store.exclusive_lock():
        recover(store)
        if store.read_note(PINNED) is None:
            raise StoreError(f"{store.location}: no version is pinned")
        store.write_note(PINNED, None)


def require_unpinned(store: Store) -> None:
    """Raises PinnedError while a version is pinned."""
    if (pinned := store.read_note(PINNED)) is not None:
        version, _, why = pinned.partition(" ")
        raise PinnedError(
            f"{store.location}: {version} is pinned ({why}) and stays; `nightloom publish unpin` ends that"
        )


def prune(store: Store, keep: int) -> list[int]:
    """Delete every version that is older than the newest `keep` servable ones, but never the current one.

    Of the newer ones that were rolled back, or failed, the newest `keep` of each stay: night after night may fail.
    """
    every, served = list_pushes(store), current_version(store)
    retained = [push.version for push in every if push.state in SERVABLE][-keep:]
    ended = {
        push.version
        for state in (PushState.ROLLED_BACK, PushState.FAILED)
        for push in [push for push in every if push.state == state][:-keep]
    }
    oldest = retained[0] if retained else 0
    old = [push for push in every if push.version != served and (push.version < oldest or push.version in ended)]
    for push in old:
        delete_version(store, push)
    return [push.version for push in old]


def _make_current(store: Store, push: Push) -> Push:
    before = served_push(store)
    store.write_note(POINTER, str(Pointer(key_of(push))))
    if before is not None and before.version != push.version:
        if before.state == UNREADABLE:
            fail_push(store, before, FailureReason.CHECKSUM, str(before.note))
        else:
            set_state(store, before, PushState.BACKUP)
    return set_state(store, push, PushState.CURRENT)


def _restore_backup(store: Store, bad: int) -> int:
    target = _newest_backup_before(store, bad)
    store.write_note(POINTER, str(Pointer(key_of(target))))
    set_state(store, target, PushState.CURRENT)
    return target.version


def _newest_backup_before(store: Store, bad: int) -> Push:
    backups = [push for push in list_pushes(store) if push.state == PushState.BACKUP and push.version < bad]
    for push in reversed(backups):
        if _is_readable(store, push):
            return push
    raise StoreError(
        f"{store.location}: {version_name(bad)} has no backup to roll back to"
        f"{' whose rows are undamaged' if backups else ''}; publish a night again instead"
    )


def _is_readable(store: Store, push: Push) -> bool:
    """Whether a version that is to be served again still has undamaged files and its popular list."""
    try:
        return store.open_version(push.version).get("popular", [encode_key(EVERYBODY)]) != [None]
    except DamagedError:
        return False


def _finish_deletion(store: Store, note: str) -> str:
    """The second half of delete_version(). Idempotent."""
    version = parse_version(note.removeprefix(DELETING))
    assert version is not None  # delete_version() made the name
    store.delete_rows(version)
    store.write_note(note, None)
    return f"cleared {version_name(version)}"


def _parse_push(store: Store, name: str, text: str) -> Push:
    """A record; one that is damaged is UNREADABLE."""
    version = parse_version(name)
    assert version is not None  # the callers name records
    try:
        return Push(**json.loads(text))
    except (ValueError, TypeError) as error:
        note = f"{store.location}: the record {name} cannot be read ({error})"
        return Push(version, UNREADABLE, "", "", NEVER, NEVER, note=note)


def _save(store: Store, push: Push) -> Push:
    store.write_note(version_name(push.version), json.dumps(asdict(push), indent=1))
    return push
