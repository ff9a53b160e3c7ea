"""The reading side of a store: a snapshot of one version, and a reader that notices a flip."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.base import (
    EVERYBODY,
    PERSONAL,
    DamagedError,
    NothingPublishedError,
    PageExpiredError,
    Store,
    StoredVersion,
    VersionPrunedError,
    encode_key,
    version_stamp,
)
from serving.stores.kept_rows import KeptRows
from serving.stores.pointer import Pointer, VersionKey, key_of, parse_pointer
from serving.stores.pushes import POINTER, SERVABLE, UNREADABLE, Push, version_name

Answer = TypeVar("Answer")
TRIES = 5
"""How often a question is asked again when its version is pruned meanwhile."""
AT_A_TIME = 1000
"""Rows of one read."""


class Snapshot:
    """One version, read-only; safe for threads.

    Reading a version that was pruned meanwhile raises VersionPrunedError, unless `survives_pruning` holds. Reading rows
    that are not as they were published raises DamagedError.
    """

    def __init__(
        self, push: Push, stored: StoredVersion, kept: KeptRows, store: Store | None = None,
        prefixes: dict[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        self.push, self.version, self.key = push, push.version, key_of(push)
        self.meta: dict[str, Any] = push.facts
        self._stored, self._kept, self._store = stored, kept, store
        self._stamp, self.name = version_stamp(push.version).encode(), version_name(push.version)
        self.survives_pruning = stored.survives_pruning
        self.prefixes: dict[str, bytes] = {} if prefixes is None else prefixes
        self.facts: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        """Caches for what readers derive from this version: serving/answers.py, serving/selection.py."""
        self._popular: dict[str, Any] | None = None
        self._popular = self.get("popular", EVERYBODY)
        if self._popular is None:
            raise DamagedError(f"{version_name(self.version)} has lost its popular list; publish the night again")

    @classmethod
    def open(cls, store: Store, key: VersionKey) -> Snapshot:
        """A version of a store. Its popular lists are read, with their items: they stay readable whatever happens."""
        try:
            push = versions.read_push(store, key.version)
            if push.state == UNREADABLE:
                raise DamagedError(f"{push.note}; publish the night again")
            if key.token not in (None, push.token):
                raise VersionPrunedError(f"{version_name(key.version)} is another push now; ask again")
            snapshot = cls(push, store.open_version(key.version), KeptRows(), store)
            snapshot._keep_popular()
        except StoreError:
            if not versions.is_complete(store, key.version):
                raise VersionPrunedError(f"{version_name(key.version)} is not there (any more); ask again") from None
            raise
        return snapshot

    @classmethod
    def of_kept_rows(cls, push: Push, kept: KeptRows) -> Snapshot:
        """A version as far as it is kept: it can be read without its store."""
        return cls(push, kept, kept)

    @property
    def in_memory(self) -> Snapshot:
        """The part of this version that can be read without its store: popular lists, and what was read so far."""
        if self._store is None:
            return self
        return Snapshot(self.push, self._kept, self._kept, prefixes=self.prefixes.copy())

    @property
    def kept(self) -> KeptRows:
        """The rows of `in_memory`."""
        return self._kept

    def _keep_popular(self) -> None:
        items = dict[str, None]()
        for batch in self._stored.scan("popular"):
            values = batch["value"].to_pylist()
            self._kept.keep("popular", batch["key"].to_pylist(), values)
            items |= dict.fromkeys(item for value in values for item in self._parse(value)["items"])
        self.titles(list(items), keep=True)

    def pushes(self) -> list[Push]:
        """Every recorded push, newest first; in memory this one alone."""
        return [self.push] if self._store is None else versions.list_pushes(self._store)[::-1]

    def get(self, kind: str, text: str) -> dict[str, Any] | None:
        """A parsed value by its id. Users and popular have items and scores; items have title and categories."""
        if kind == "popular" and text == EVERYBODY and self._popular is not None:
            return self._popular
        key = encode_key(text)
        (value,) = self._stored.get(kind, (key,))
        if value is None:
            self._check_not_pruned()
            return None
        row = self._parse(value)
        if kind not in PERSONAL:  # what could not be parsed was not reached: no damaged row is kept
            self._kept.keep(kind, (key,), (value,))
        return row

    def value(self, kind: str, key: bytes) -> bytes | None:
        """The bytes of a personal row. None also for one that only get() can tell more about."""
        (value,) = self._stored.get(kind, (key,))
        return value if value is not None and value.startswith(self._stamp) else None

    def get_many(self, kind: str, texts: Sequence[str], *, keep: bool = True) -> list[dict[str, Any] | None]:
        """Several values at once: one round trip to a remote store. What is to be read once needs no `keep`."""
        keys = [encode_key(text) for text in texts]
        found = self._stored.get(kind, keys)
        if None in found:
            self._check_not_pruned()
        rows = [None if value is None else self._parse(value) for value in found]
        if keep and kind not in PERSONAL:
            self._kept.keep(kind, keys, found)
        return rows

    def values(self, kind: str) -> Iterator[bytes]:
        """Every value of a kind."""
        for batch in self._stored.scan(kind):
            yield from batch["value"].to_pylist()
        self._check_not_pruned()

    def title(self, item: str) -> str:
        """The title of an item; its id where nobody described it."""
        return self.titles([item])[0]

    def titles(self, items: Sequence[str], *, keep: bool = False) -> list[str]:
        """Titles of items. Readers cache them: rows are kept for popular lists alone, which the next process has."""
        rows: list[dict[str, Any] | None] = []
        for start in range(0, len(items), AT_A_TIME):
            rows += self.get_many("items", items[start : start + AT_A_TIME], keep=keep)
        return [item if row is None else str(row["title"]) for item, row in zip(items, rows, strict=True)]

    def _parse(self, value: bytes) -> dict[str, Any]:
        """Raises DamagedError for a value that is not JSON, or another version's."""
        try:
            if value.startswith(self._stamp):
                return _decode(value)
        except ValueError:
            pass
        raise DamagedError(
            f"{version_name(self.version)} has the row {value[:60]!r}, which is not as it was published; publish the "
            "night again"
        )

    def _check_not_pruned(self) -> None:
        """Raises VersionPrunedError where a missing row may have been deleted.

        A delete removes the record, or marks it FAILED, before the first row: with a good record no row is missing.
        """
        if self._store is None or self.survives_pruning:
            return
        if not versions.is_complete(self._store, self.version):
            raise VersionPrunedError(f"{version_name(self.version)} was pruned while it was read; ask again")


def _decode(value: bytes) -> dict[str, Any]:
    try:
        row: dict[str, Any] = _decoder.decode(value)  # in a fifth of the time that json takes
    except msgspec.DecodeError:  # json knows more than the standard has, such as one half of a surrogate pair
        row = json.loads(value.decode())
    return row


_decoder = msgspec.json.Decoder()


@dataclass(frozen=True)
class Served:
    """What a pointer names, opened."""

    pointer: Pointer
    snapshot: Snapshot
    canary: Snapshot | None

    def of(self, user: str | None) -> Snapshot:
        """The current version; during a canary its version for its users."""
        if self.canary is not None and user is not None and self.pointer.gives_canary(user):
            return self.canary
        return self.snapshot


class Reader:
    """Gives the version that is served now. One reader per process, shared by its threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._served: tuple[str | None, Served] | None = None
        self._last_retained: Snapshot | None = None
        self._open_snapshots: WeakValueDictionary[VersionKey, Snapshot] = WeakValueDictionary()

    def current(self, user: str | None = None) -> Snapshot:
        """The current version; during a canary its version for its users. Raises StoreError, also before a publish."""
        return self.serve(self.store.read_pointer()).of(user)

    def serve(self, text: str | None) -> Served:
        """What the text of the pointer names. Raises StoreError."""
        served = self._served
        if served is None or served[0] != text:
            served = self._served = text, self._open(text)
        return served[1]

    def retained(self, key: VersionKey) -> Snapshot:
        """A version that may be served: the current one or a backup. Raises PageExpiredError for any other."""
        gone = PageExpiredError(f"{version_name(key.version)} is not kept any more; ask for page one")
        text = self.store.read_note(version_name(key.version))
        push = None if text is None else versions.read_push(self.store, key.version)
        if push is None or push.token != key.token or push.state not in SERVABLE:
            raise gone
        try:
            found = self._open_snapshot(key)
        except (VersionPrunedError, DamagedError):
            raise gone from None
        self._last_retained = found  # pages come one after the other
        return found

    def forget(self) -> None:
        """Open the served version again at the next use, which checks its files."""
        with self._lock:
            self._served = None
            self._open_snapshots.clear()

    def ask(self, question: Callable[[Snapshot], Answer], user: str | None = None) -> Answer:
        """The current version's answer to a question; asked again when the version is pruned meanwhile."""
        snapshot = self.current(user)
        for _ in range(TRIES):
            try:
                return question(snapshot)
            except VersionPrunedError as error:
                pruned, snapshot = error, self.serve(self.store.read_note(POINTER)).of(user)
        raise pruned

    def _open(self, text: str | None) -> Served:
        if text is None:
            missing = not self.store.remote and not Path(self.store.location).exists()
            hint = ", or mount the folder, which is not there" if missing else ""
            raise NothingPublishedError(f"{self.store.location}: nothing is published yet; run a night first{hint}")
        pointer = parse_pointer(text, self.store.location)
        try:
            snapshot = self._open_snapshot(pointer.served)
        except VersionPrunedError:  # the text may be a moment old
            fresh = self.store.read_note(POINTER)
            if fresh is None or fresh == text:
                raise
            pointer = parse_pointer(fresh, self.store.location)
            snapshot = self._open_snapshot(pointer.served)
        return Served(pointer, snapshot, self._open_canary(pointer))

    def _open_canary(self, pointer: Pointer) -> Snapshot | None:
        """None also where the canary has ended meanwhile, which the next look at the pointer shows."""
        try:
            return None if pointer.canary is None else self._open_snapshot(pointer.canary)
        except VersionPrunedError:
            return None

    def _open_snapshot(self, key: VersionKey) -> Snapshot:
        """One snapshot per version and process, for as long as somebody refers to it."""
        with self._lock:
            if (found := self._open_snapshots.get(key)) is None:
                found = self._open_snapshots[key] = Snapshot.open(self.store, key)
            return found
