"""LMDB, embedded: one immutable environment per version, three databases of ready-made JSON, and the meta record.

Key -> value: `=ID` (a digest where the id is too long for LMDB) -> {"version":"v000001","generated_at":"...", ...}. The
head of a value has a fixed width, so that the checksum is over what follows it: equal content, equal checksum.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import pyarrow as pa

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.versions import PushError, Reason

KINDS = ("users", "items", "popular")
META = b"meta"
LONGEST_KEY = 500
"""Bytes of an id that stand in the key as they are; LMDB's own limit is 511."""
SAMPLE_EVERY = 1009
"""One row in so many is remembered while loading and read back at the end."""
Rows = Iterator[pa.RecordBatch]
"""Batches of `key` and `value`, both binary, keys rising."""


def key(text: str) -> bytes:
    """Key of an id; the SQL twin is lists.KEY."""
    raw = text.encode("utf8", "replace")
    return b"=" + raw if len(raw) <= LONGEST_KEY else b"#" + hashlib.sha256(raw).hexdigest().encode()


def head(version: int, generated_at: str) -> str:
    """First bytes of each value; generated_at is ISO, UTC, whole seconds."""
    return f'{{"version":"{versions.name(version)}","generated_at":"{generated_at}",'


HEAD = len(head(1, "2000-01-01T00:00:00Z"))


@dataclass
class Loaded:
    """What went in: rows by kind, checksum over the content in key order, and a few rows to read back."""

    counts: dict[str, int] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)
    sample: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    written: int = 0
    bytes: int = 0

    @property
    def checksum(self) -> str:
        return str(self.digest.hexdigest())


def load(folder: Path, kinds: Mapping[str, Rows], map_size: int, progress: Callable[[str, int], None]) -> Loaded:
    """Append each kind's rows to a new environment, bounded memory. `progress` gets the kind and its rows so far."""
    loaded = Loaded()
    try:
        # No sync per commit: a version that is not whole is never read, and the one sync at the end makes it durable.
        with lmdb.open(str(folder), map_size=map_size, max_dbs=len(KINDS), sync=False, metasync=False) as env:
            for kind, batches in kinds.items():
                _append(env, kind, batches, loaded, progress)
            env.sync(True)
    except (lmdb.MapFullError, lmdb.DiskError) as error:
        raise PushError(Reason.QUOTA, f"{folder.name} needs more than {map_size:,} bytes ({error})") from None
    return loaded


def _append(
    env: lmdb.Environment, kind: str, batches: Rows, loaded: Loaded, progress: Callable[[str, int], None]
) -> None:
    database, rows = env.open_db(kind.encode()), 0
    sample = loaded.sample.setdefault(kind, [])
    for batch in batches:
        pairs = list(zip(*(column.to_numpy(zero_copy_only=False) for column in batch.columns), strict=True))
        for _, value in pairs:
            loaded.digest.update(memoryview(value)[HEAD:])
        with env.begin(db=database, write=True) as txn:
            # A key that does not rise (twice the same id) is not added: the count then tells.
            loaded.written += txn.cursor().putmulti(pairs, append=True)[1]
        sample.extend(pairs[-rows % SAMPLE_EVERY :: SAMPLE_EVERY])
        rows += len(pairs)
        progress(kind, rows)
    loaded.counts[kind] = rows


def finish(folder: Path, meta: Mapping[str, Any]) -> None:
    """Add the meta record, the last write this version ever gets."""
    with lmdb.open(str(folder), max_dbs=len(KINDS)) as env, env.begin(write=True) as txn:
        txn.put(META, json.dumps(meta).encode())
    (folder / "lock.mdb").unlink()
    versions.sync_folder(folder)


def verify(folder: Path, version: int, loaded: Loaded) -> None:
    """Read everything back: counts, checksum, version stamps, sampled rows. Raises PushError."""
    digest, stamp = hashlib.sha256(), head(version, "").split(",")[0].encode()
    snapshot = Snapshot(folder, version)
    for kind in loaded.counts:
        found = _read_through(snapshot, kind, digest, stamp)
        if found != loaded.counts[kind]:
            raise PushError(
                Reason.COUNT_MISMATCH,
                f"{folder.name} holds {found:,} {kind}, {loaded.counts[kind]:,} were pushed; an id must come once only",
            )
    if digest.hexdigest() != loaded.checksum:
        raise PushError(Reason.CHECKSUM, f"{folder.name} does not read back as it was written; check the disk")
    for kind, pairs in loaded.sample.items():
        if any(snapshot.raw(kind, each) != value for each, value in pairs):
            raise PushError(Reason.CHECKSUM, f"{folder.name}: a sampled read of {kind} gave another value")
    everybody = snapshot.get("popular", "all")
    if everybody is None or not everybody["items"]:
        raise PushError(Reason.COUNT_MISMATCH, f"{folder.name} has no popular list `all`, which unknown users get")


def _read_through(snapshot: Snapshot, kind: str, digest: Any, stamp: bytes) -> int:
    rows = 0
    for value in snapshot.values(kind):
        if value[: len(stamp)] != stamp:
            raise PushError(Reason.CHECKSUM, f"a value of {kind} carries {bytes(value[:HEAD])!r}, expected {stamp!r}")
        digest.update(value[HEAD:])
        rows += 1
    return rows


class Snapshot:
    """One version, read-only; safe for threads. Stays readable as long as it is held, deleted or not."""

    def __init__(self, folder: Path, version: int) -> None:
        self.version = version
        # No lock file: a version never changes once it can be read.
        self._env = lmdb.open(str(folder), readonly=True, lock=False, max_dbs=len(KINDS), create=False)
        self._databases = {kind: self._env.open_db(kind.encode(), create=False) for kind in KINDS}
        with self._env.begin() as txn:
            meta = txn.get(META)
        if meta is None:
            raise StoreError(f"{folder} has no meta record; it was never finished")
        self.meta: dict[str, Any] = json.loads(meta)
        self.prefixes: dict[str, bytes] = {}
        """Room for what a reader derives from this version and keeps."""

    def raw(self, kind: str, key: bytes) -> bytes | None:
        """One value by its key."""
        with self._env.begin() as txn:
            return txn.get(key, db=self._databases[kind])

    def get(self, kind: str, text: str) -> dict[str, Any] | None:
        """One value by its id, parsed: users and popular have items and scores, items have title and categories."""
        value = self.raw(kind, key(text))
        return None if value is None else json.loads(value)

    def values(self, kind: str) -> Iterator[memoryview]:
        """Every value of a kind in key order, without a copy; a view is valid until the next one."""
        with self._env.begin(buffers=True) as txn:
            yield from txn.cursor(self._databases[kind]).iternext(keys=False)

    def title(self, item: str) -> str:
        """Title of an item, its id where there is no card."""
        card = self.get("items", item)
        return item if card is None else str(card["title"])


class Reader:
    """The version served now; notices a flip at the next call. One per process, shared by its threads."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._pointer = store / versions.POINTER
        self._flipped_at, self._snapshot, self.stale = -1, None, False
        self._open: WeakValueDictionary[int, Snapshot] = WeakValueDictionary()

    _snapshot: Snapshot | None

    def now(self) -> Snapshot:
        """The current version. Store gone: the last good one, and `stale` is true. Raises StoreError before any."""
        try:
            flipped_at = self._pointer.stat().st_mtime_ns
            if flipped_at != self._flipped_at or self._snapshot is None:
                self._snapshot, self._flipped_at = self._opened(), flipped_at
            self.stale = False
        except (OSError, StoreError, lmdb.Error) as error:
            if self._snapshot is None:
                raise StoreError(f"{self.store}: nothing is published yet; run a night first ({error})") from None
            self.stale = True
        return self._snapshot

    def _opened(self) -> Snapshot:
        deadline = time.monotonic() + 2
        while (version := versions.current(self.store)) is not None:
            try:
                # One environment per version and process: LMDB forbids to open one twice.
                if (snapshot := self._open.get(version)) is None:
                    snapshot = self._open[version] = Snapshot(versions.folder(self.store, version), version)
                return snapshot
            except (OSError, lmdb.Error):
                # Pruned between the two reads: only possible when the pointer moved on meanwhile.
                if versions.current(self.store) == version or time.monotonic() > deadline:
                    raise
        raise StoreError("no version is current")
