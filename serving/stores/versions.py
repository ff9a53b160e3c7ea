"""Versions of a store: a record of each push, and a pointer to the one that readers get. Same for every kind of store.

All of it is notes: CURRENT (pointer), LAST (highest number given), PINNED, v000001 (record, JSON), gone-v000001 (being
deleted). What a kill can interrupt is ordered so that the next push or rollback can settle it: the pointer is the truth
about what is served, the records are the truth about what may be. Only the holder of the lock writes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nightloom.errors import EXIT_CLOSED, StoreError
from nightloom.lake import now

if TYPE_CHECKING:
    from serving.stores.base import Store

POINTER, LAST, PINNED, GONE = "CURRENT", "LAST", "PINNED", "gone-"


class State(StrEnum):
    """Where a push stands. STARTED -> LOADED -> VERIFIED -> CURRENT -> BACKUP -> CURRENT ..., or an end."""

    STARTED = "STARTED"
    LOADED = "LOADED"
    VERIFIED = "VERIFIED"
    CURRENT = "CURRENT"
    BACKUP = "BACKUP"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"


UNFINISHED = (State.STARTED, State.LOADED, State.VERIFIED)
KEPT = (State.CURRENT, State.BACKUP)


class Reason(StrEnum):
    """Why a push failed: the whole list."""

    QUOTA = "quota"
    COUNT_MISMATCH = "count_mismatch"
    CHECKSUM = "checksum"
    GATE_CLOSED = "gate_closed"
    CONCURRENT_PUSH = "concurrent_push"
    DATASET_CHANGED = "dataset_changed"
    GUARDRAIL = "guardrail"


class PushError(StoreError):
    """A push that ended for a known reason; what was served before is still served."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PinnedError(StoreError):
    """A version is pinned: nothing broke, and nothing else becomes current."""

    exit_code = EXIT_CLOSED


@dataclass(frozen=True)
class Push:
    """One version's record. `state` is text: a state that this code does not know is kept and never acted on."""

    version: int
    state: str
    night: str
    run_id: str
    started_at: str
    changed_at: str
    reason: str | None = None
    note: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def name(version: int) -> str:
    """A version's name, as people read it; its record's too."""
    return f"v{version:06d}"


def number(text: str) -> int | None:
    """The version that a name says, None when it says none."""
    return int(text[1:]) if text[:1] == "v" and text[1:].isdigit() else None


def pushes(store: Store) -> list[Push]:
    """Every record there is, oldest first."""
    notes = store.notes()
    return sorted((_parsed(store, each, notes[each]) for each in notes if number(each)), key=lambda push: push.version)


def read(store: Store, version: int) -> Push:
    """The record of one version. Raises StoreError when it is not there or cannot be read."""
    text = store.note(name(version))
    if text is None:
        raise StoreError(f"{store.where}: no version {name(version)}; `nightloom publish list` shows those there are")
    return _parsed(store, name(version), text)


def whole(store: Store, version: int) -> bool:
    """Whether a version that was loaded still has all its rows."""
    text = store.note(name(version))
    return text is not None and _parsed(store, name(version), text).state != State.FAILED


def current(store: Store) -> int | None:
    """Version that readers get, None before the first publish. Raises StoreError when the pointer is damaged."""
    return pointed(store, store.note(POINTER))


def pointed(store: Store, text: str | None) -> int | None:
    """The version that a pointer's text says."""
    if text is None:
        return None
    if (version := number(text.strip().split(" ")[0])) is None:
        raise StoreError(
            f"{store.where}: the pointer {POINTER} says {text!r}, expected a version such as v000001; mend it by hand"
        )
    return version


def pointed_for(store: Store, text: str | None, user: str) -> int | None:
    """The version that a pointer's text says for a user: during a canary the new one for its share of them."""
    words = (text or "").split()
    if len(words) == 4:
        _, canary, share, until = words
        chosen = int(hashlib.sha256(f"{canary} {user}".encode("utf8", "replace")).hexdigest()[:8], 16) / 16**8
        if chosen < float(share) and now() < datetime.fromisoformat(until):
            return number(canary)
    return pointed(store, text)


def settle(store: Store) -> list[str]:
    """Finish what a killed push, rollback or pin left, but an unfinished load; under the lock. Returns it in words."""
    done = [_dropped(store, each) for each in sorted(store.notes()) if each.startswith(GONE)]
    served = current(store)
    if served is not None and store.note(POINTER) != name(served):
        store.write(POINTER, name(served))
        done.append("ended a canary")
    for push in pushes(store):
        match push.state:
            case State.ROLLED_BACK if push.version == served:
                done.append(f"finished the rollback to {name(_back(store, push.version))}")
            case State.VERIFIED | State.BACKUP if push.version == served:
                write(store, push, State.CURRENT)
            case State.CURRENT if push.version != served:
                write(store, push, State.BACKUP)
    return done


def begin(store: Store, night: str, run_id: str, **facts: Any) -> Push:
    """A new version's record, or that of a load of the very same that was killed. Under the lock.

    Its number was never used before. Of `facts`, `source` says what is loaded; other unfinished loads are cleared.
    """
    served = current(store)
    unfinished = [push for push in pushes(store) if push.state in UNFINISHED and push.version != served]
    same = [push for push in unfinished if facts and push.facts.get("source") == facts["source"]][-1:]
    for push in unfinished:
        if push not in same:
            discard(store, push)
    if same:
        return _written(store, replace(same[0], state=State.STARTED, run_id=run_id, changed_at=now().isoformat()))
    version = max([int(store.note(LAST) or 0), served or 0, *(push.version for push in pushes(store))]) + 1
    store.write(LAST, str(version))
    moment = now().isoformat()
    return _written(store, Push(version, State.STARTED, night, run_id, moment, moment, facts=facts))


def write(store: Store, push: Push, state: State, **facts: Any) -> Push:
    """Move a push to a state, with further facts."""
    return _written(store, replace(push, state=state, changed_at=now().isoformat(), facts=push.facts | facts))


def fail(store: Store, push: Push, reason: Reason, note: str) -> Push:
    """Mark a push as failed and free its space; the record stays until the versions beside it are pruned."""
    failed = replace(push, state=State.FAILED, reason=reason, note=note, changed_at=now().isoformat())
    failed = _written(store, failed)
    store.clear(push.version)
    return failed


def discard(store: Store, push: Push) -> str:
    """Take away a version that is not wanted (never the one served)."""
    # The record goes first: killed in between, no half-deleted version can be taken for a whole.
    store.write(GONE + name(push.version), "")
    store.write(name(push.version), None)
    return _dropped(store, GONE + name(push.version))


def flip(store: Store, push: Push) -> Push:
    """Make a VERIFIED push the one that readers get; the one before becomes BACKUP."""
    if push.state != State.VERIFIED:
        raise StoreError(f"{name(push.version)} is {push.state}; only a VERIFIED version can become current")
    not_pinned(store)
    return _serve(store, push)


def rollback(store: Store, why: str) -> tuple[int, int]:
    """Flip back to the BACKUP before the current, which is ROLLED_BACK for good; ends a pin. Returns (bad, now)."""
    with store.exclusive():
        settle(store)
        bad = current(store)
        if bad is None:
            raise StoreError(f"{store.where}: nothing is published, so nothing can be rolled back")
        _older(store, bad)  # raises before anything is marked
        store.write(PINNED, None)
        # Marked before the flip: killed in between, the mark stands and settle() finishes the flip.
        _written(store, replace(read(store, bad), state=State.ROLLED_BACK, note=why, changed_at=now().isoformat()))
        return bad, _back(store, bad)


def pin(store: Store, version: int, why: str, override: str | None = None) -> Push:
    """Serve a kept version until unpin(), whatever is pushed. One that was rolled back needs an override by name."""
    with store.exclusive():
        settle(store)
        push = read(store, version)
        if push.state == State.ROLLED_BACK and not override:
            raise StoreError(
                f'{name(version)} was rolled back ({push.note}); to serve it all the same: --override "WHO: WHY"'
            )
        if push.state not in (*KEPT, State.ROLLED_BACK):
            raise StoreError(f"{name(version)} is {push.state}; only a version that was once served can be pinned")
        store.write(PINNED, f"{name(version)} {why}")
        if push.state == State.ROLLED_BACK:
            push = _written(store, replace(push, state=State.BACKUP, note=f"{push.note}; overridden: {override}"))
        return _serve(store, push)


def unpin(store: Store) -> None:
    """Let the next push become current again."""
    with store.exclusive():
        settle(store)
        if store.note(PINNED) is None:
            raise StoreError(f"{store.where}: no version is pinned")
        store.write(PINNED, None)


def not_pinned(store: Store) -> None:
    """Raises PinnedError."""
    if (pinned := store.note(PINNED)) is not None:
        raise PinnedError(
            f"{store.where}: {pinned.replace(' ', ' is pinned (', 1)}) and stays; `nightloom publish unpin` ends that"
        )


def prune(store: Store, keep: int) -> list[int]:
    """Delete what is older than the newest `keep` of current and backups, but for the current one."""
    every, served = pushes(store), current(store)
    kept = [push.version for push in every if push.state in KEPT][-keep:]
    old = [push for push in every if kept and push.version < kept[0] and push.version != served]
    for push in old:
        discard(store, push)
    return [push.version for push in old]


def _serve(store: Store, push: Push) -> Push:
    before = current(store)
    store.write(POINTER, name(push.version))
    if before is not None and before != push.version:
        write(store, read(store, before), State.BACKUP)
    return write(store, push, State.CURRENT)


def _back(store: Store, bad: int) -> int:
    target = _older(store, bad)
    store.write(POINTER, name(target.version))
    write(store, target, State.CURRENT)
    return target.version


def _older(store: Store, bad: int) -> Push:
    backups = [push for push in pushes(store) if push.state == State.BACKUP and push.version < bad]
    if not backups:
        raise StoreError(f"{store.where}: {name(bad)} has no backup to roll back to; publish a night again instead")
    return backups[-1]


def _dropped(store: Store, gone: str) -> str:
    """The end of discard(): safe to repeat."""
    version = number(gone.removeprefix(GONE))
    assert version is not None  # discard() made the name
    store.clear(version)
    store.write(gone, None)
    return f"cleared {name(version)}"


def _parsed(store: Store, name: str, text: str) -> Push:
    try:
        return Push(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{store.where}: the record {name} cannot be read ({error}); restore it by hand") from None


def _written(store: Store, push: Push) -> Push:
    store.write(name(push.version), json.dumps(asdict(push), indent=1))
    return push
