"""The reading side of a store: a snapshot of one version, and a reader that notices a flip."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.base import EVERYBODY, Store, VersionPrunedError, encode_key
from serving.stores.pushes import version_name

Answer = TypeVar("Answer")
TRIES = 5
"""How often a question is asked again when its version is pruned meanwhile."""


class Snapshot:
    """One version, read-only; safe for threads.

    Reading a version that was pruned meanwhile raises VersionPrunedError, unless `survives_pruning` holds.
    """

    def __init__(self, store: Store, version: int) -> None:
        self.version = version
        self._store = store
        try:
            self._stored = store.open_version(version)
            self.meta: dict[str, Any] = versions.read_push(store, version).facts
        except StoreError:
            if not versions.is_complete(store, version):
                raise VersionPrunedError(f"{version_name(version)} is not there (any more); ask again") from None
            raise
        self.survives_pruning = self._stored.survives_pruning
        self.prefixes: dict[str, bytes] = {}
        """A cache for what a reader derives from this version."""
        self._titles: dict[str, str] = {}
        self._popular: dict[str, Any] | None = None
        self._popular = self.get("popular", EVERYBODY)
        if self._popular is not None:  # cached with its titles: readable while the store is unreachable
            items = self._popular["items"]
            self._titles = dict(zip(items, self.titles(items), strict=True))

    def get(self, kind: str, text: str) -> dict[str, Any] | None:
        """A parsed value by its id. Users and popular have items and scores; items have title and categories."""
        if (kind, text) == ("popular", EVERYBODY) and self._popular is not None:
            return self._popular
        return self.get_many(kind, [text])[0]

    def get_many(self, kind: str, texts: Sequence[str]) -> list[dict[str, Any] | None]:
        """Several values at once: one round trip to a remote store."""
        found = self._stored.get(kind, [encode_key(text) for text in texts])
        if None in found:
            self._check_not_pruned()
        return [None if value is None else json.loads(value) for value in found]

    def values(self, kind: str) -> Iterator[bytes]:
        """Every value of a kind."""
        for batch in self._stored.scan(kind):
            yield from batch["value"].to_pylist()
        self._check_not_pruned()

    def title(self, item: str) -> str:
        """The title of an item; its id where nobody described it."""
        return self.titles([item])[0]

    def titles(self, items: Sequence[str]) -> list[str]:
        missing = [item for item in items if item not in self._titles]
        found = dict(zip(missing, self.get_many("items", missing), strict=True)) if missing else {}
        return [self._titles.get(item) or _title(item, found[item]) for item in items]

    def _check_not_pruned(self) -> None:
        """Raises VersionPrunedError where a missing row may have been deleted.

        A delete removes the record, or marks it FAILED, before the first row: with a good record no row is missing.
        """
        if not self.survives_pruning and not versions.is_complete(self._store, self.version):
            raise VersionPrunedError(f"{version_name(self.version)} was pruned while it was read; ask again")


def _title(item: str, description: dict[str, Any] | None) -> str:
    return item if description is None else str(description["title"])


class Reader:
    """Gives the version that is served now. One reader per process, shared by its threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stale = False
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._canary: Snapshot | None = None  # a reference, so that it is opened once
        self._open_snapshots: WeakValueDictionary[int, Snapshot] = WeakValueDictionary()

    def current(self, user: str | None = None) -> Snapshot:
        """The current version; during a canary its version for its users.

        With the store unreachable: the last good version, and `stale` is true. Raises StoreError before the first
        publish.
        """
        try:
            pointer = self.store.read_pointer()
            served = versions.parse_pointer(self.store, pointer)
            if self._snapshot is None or self._snapshot.version != served:
                self._snapshot = self._open_snapshot(served)
            self.stale = False
            if user is not None and (own := versions.version_for_user(self.store, pointer, user)) != served:
                self._canary = self._open_snapshot(own)
                return self._canary
        except (OSError, StoreError) as error:
            if self._snapshot is None:
                raise StoreError(
                    f"{self.store.location}: nothing is published yet; run a night first ({error})"
                ) from None
            self.stale = True
        return self._snapshot

    def ask(self, question: Callable[[Snapshot], Answer], user: str | None = None) -> Answer:
        """The current version's answer to a question; asked again when the version is pruned meanwhile."""
        snapshot = self.current(user)
        for _ in range(TRIES):
            try:
                return question(snapshot)
            except VersionPrunedError as error:
                pruned, snapshot = error, self._open_snapshot(versions.current_version(self.store))
        raise pruned

    def _open_snapshot(self, version: int | None) -> Snapshot:
        """One snapshot per version and process, for as long as somebody refers to it."""
        if version is None:
            raise StoreError("no version is current")
        with self._lock:
            if (found := self._open_snapshots.get(version)) is not None:
                return found
            try:
                found = Snapshot(self.store, version)
            except VersionPrunedError:  # the pointer may be a moment old
                found = Snapshot(self.store, versions.current_version(self.store) or version)
            self._open_snapshots[found.version] = found
            return found
