"""Versions of a store folder: STORE/v000001/push.json (record of a push), STORE/CURRENT (pointer), STORE/LAST, a lock.

What a kill can interrupt is ordered so that the next push or rollback can settle it: the pointer is the truth about
what is served, the records are the truth about what may be. Only the holder of the lock writes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from nightloom.errors import StoreError
from nightloom.lake import now

POINTER, LAST, LOCK, RECORD, GONE = "CURRENT", "LAST", "push.lock", "push.json", ".gone-"


class State(StrEnum):
    """Where a push stands. STARTED -> LOADED -> VERIFIED -> CURRENT -> BACKUP -> CURRENT ..., or an end."""

    STARTED = "STARTED"
    LOADED = "LOADED"
    VERIFIED = "VERIFIED"
    CURRENT = "CURRENT"
    BACKUP = "BACKUP"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"


class Reason(StrEnum):
    """Why a push failed: the whole list."""

    QUOTA = "quota"
    COUNT_MISMATCH = "count_mismatch"
    CHECKSUM = "checksum"
    GATE_CLOSED = "gate_closed"
    CONCURRENT_PUSH = "concurrent_push"
    DATASET_CHANGED = "dataset_changed"


class PushError(StoreError):
    """A push that ended for a known reason; what was served before is still served."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
    """Folder of a version."""
    return f"v{version:06d}"


def folder(store: Path, version: int) -> Path:
    return store / name(version)


def pushes(store: Path) -> list[Push]:
    """Every record there is, oldest first. A folder without a whole record (killed at its birth) is not listed."""
    return [read(store, version) for version in _numbers(store) if (folder(store, version) / RECORD).is_file()]


def read(store: Path, version: int) -> Push:
    """The record of one version. Raises StoreError when it is not there or cannot be read."""
    file = folder(store, version) / RECORD
    try:
        return Push(**json.loads(file.read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{file}: no readable push record ({error}); `ls {store}` shows the versions") from None


def current(store: Path) -> int | None:
    """Version that readers get, None before the first publish. Raises StoreError when the pointer is damaged."""
    try:
        text = (store / POINTER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    if not (text.startswith("v") and text[1:].isdigit()):
        raise StoreError(f"{store / POINTER} says {text!r}, expected a version such as v000001; restore it by hand")
    return int(text[1:])


@contextmanager
def exclusive(store: Path) -> Iterator[None]:
    """Hold the store's lock, which ends with the process, however that ends. Raises PushError when another holds it."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / LOCK).open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise PushError(
                Reason.CONCURRENT_PUSH,
                f"{store}: another push is under way ({lock.read().strip() or 'just begun'}); wait for it to end",
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} since {now():%H:%M:%S} UTC\n")
        lock.flush()
        yield


def settle(store: Path) -> list[str]:
    """Finish or clear what a killed push or rollback left; under the lock. Returns what was done, in words."""
    for gone in store.glob(f"{GONE}*"):
        shutil.rmtree(gone)
    done = [_cleared(store, version) for version in _numbers(store) if not (folder(store, version) / RECORD).is_file()]
    served = current(store)
    for push in pushes(store):
        match push.state:
            case State.ROLLED_BACK if push.version == served:
                done.append(f"finished the rollback to {name(_back(store, push.version))}")
            case State.STARTED | State.LOADED:
                done.append(_cleared(store, push.version))
            case State.VERIFIED if push.version != served:
                done.append(_cleared(store, push.version))
            case State.VERIFIED | State.BACKUP if push.version == served:
                write(store, push, State.CURRENT)
            case State.CURRENT if push.version != served:
                write(store, push, State.BACKUP)
    return done


def begin(store: Path, night: str, run_id: str) -> Push:
    """A new version's folder and record; its number was never used before. Under the lock."""
    version = max([_last(store), current(store) or 0, *_numbers(store)]) + 1
    _replace(store / LAST, f"{version}\n")
    folder(store, version).mkdir()
    moment = now().isoformat()
    return _written(store, Push(version, State.STARTED, night, run_id, moment, moment))


def write(store: Path, push: Push, state: State, **facts: Any) -> Push:
    """Move a push to a state, with further facts."""
    return _written(store, replace(push, state=state, changed_at=now().isoformat(), facts=push.facts | facts))


def fail(store: Path, push: Push, reason: Reason, note: str) -> Push:
    """Mark a push as failed and free its space; the record stays until the versions beside it are pruned."""
    failed = replace(push, state=State.FAILED, reason=reason, note=note, changed_at=now().isoformat())
    failed = _written(store, failed)
    for file in folder(store, push.version).iterdir():
        if file.name != RECORD:
            file.unlink()
    return failed


def discard(store: Path, push: Push) -> None:
    """Take away a version that is not wanted after all (never the one served)."""
    _cleared(store, push.version)


def flip(store: Path, push: Push) -> Push:
    """Make a VERIFIED push the one that readers get; the one before becomes BACKUP."""
    if push.state != State.VERIFIED:
        raise StoreError(f"{name(push.version)} is {push.state}; only a VERIFIED version can become current")
    before = current(store)
    _point(store, push.version)
    if before is not None:
        write(store, read(store, before), State.BACKUP)
    return write(store, push, State.CURRENT)


def rollback(store: Path, why: str) -> tuple[int, int]:
    """Flip back to the newest BACKUP, and mark the version left as ROLLED_BACK for good. Returns (bad, now served)."""
    with exclusive(store):
        settle(store)
        bad = current(store)
        if bad is None:
            raise StoreError(f"{store}: nothing is published, so nothing can be rolled back")
        _older(store, bad)  # raises before anything is marked
        # Marked before the flip: killed in between, the mark stands and settle() finishes the flip.
        _written(store, replace(read(store, bad), state=State.ROLLED_BACK, note=why, changed_at=now().isoformat()))
        return bad, _back(store, bad)


def prune(store: Path, keep: int) -> list[int]:
    """Delete what is older than the newest `keep` of current and backups. Readers that still map it keep reading."""
    kept = [push.version for push in pushes(store) if push.state in (State.CURRENT, State.BACKUP)][-keep:]
    old = [version for version in _numbers(store) if kept and version < kept[0]]
    for version in old:
        _cleared(store, version)
    return old


def _back(store: Path, bad: int) -> int:
    target = _older(store, bad)
    _point(store, target.version)
    write(store, target, State.CURRENT)
    return target.version


def _older(store: Path, bad: int) -> Push:
    backups = [push for push in pushes(store) if push.state == State.BACKUP and push.version < bad]
    if not backups:
        raise StoreError(f"{store}: {name(bad)} has no backup to roll back to; publish a night again instead")
    return backups[-1]


def _numbers(store: Path) -> list[int]:
    return sorted(int(path.name[1:]) for path in store.glob("v*") if path.name[1:].isdigit() and path.is_dir())


def _last(store: Path) -> int:
    file = store / LAST
    return int(file.read_text(encoding="ascii")) if file.is_file() else 0


def _cleared(store: Path, version: int) -> str:
    """Delete a version's folder. Renamed first: killed in between, no half-deleted version can be taken for a whole."""
    gone = store / f"{GONE}{name(version)}"
    folder(store, version).rename(gone)
    shutil.rmtree(gone)
    return f"cleared {name(version)}, which was not finished"


def _written(store: Path, push: Push) -> Push:
    _replace(folder(store, push.version) / RECORD, json.dumps(asdict(push), indent=1) + "\n")
    return push


def _point(store: Path, version: int) -> None:
    _replace(store / POINTER, name(version) + "\n")


def _replace(file: Path, text: str) -> None:
    """Write a file so that a reader, or a power cut, sees all of the old or all of the new."""
    # Readers tell a flip by the time of the pointer: it must differ however coarse the file system's clock is.
    before = file.stat().st_mtime_ns if file.exists() else 0
    part = file.with_name(f"{file.name}.part")
    with part.open("w", encoding="utf8") as handle:
        handle.write(text)
        handle.flush()
        os.utime(handle.fileno(), ns=(moment := max(time.time_ns(), before + 1), moment))
        os.fsync(handle.fileno())
    part.replace(file)
    sync_folder(file.parent)


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
