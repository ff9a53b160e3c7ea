"""What readers hold: a snapshot of one version, and a reader that notices when another is served."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from nightloom.errors import StoreError
from serving.stores import versions
from serving.stores.base import EVERYBODY, GoneError, Store, key

Answer = TypeVar("Answer")
TRIES = 5
"""Versions that may be pruned one after the other while one question is asked."""


class Snapshot:
    """One version, read-only; safe for threads. What is pruned meanwhile raises GoneError, where it cannot last."""

    def __init__(self, store: Store, version: int) -> None:
        self.version = version
        self._store = store
        try:
            self._rows = store.open(version)
            self.meta: dict[str, Any] = versions.read(store, version).facts
        except StoreError:
            if not versions.whole(store, version):
                raise GoneError(f"{versions.name(version)} is not there (any more); ask again") from None
            raise
        self._everybody: dict[str, Any] | None = None
        self.lasting = self._rows.lasting
        self.prefixes: dict[str, bytes] = {}
        """Room for what a reader derives from this version and keeps."""
        self._titles: dict[str, str] = {}
        self._everybody = self.get("popular", EVERYBODY)
        if self._everybody is not None:  # kept, titles too: it can be read with the store away
            items = self._everybody["items"]
            self._titles = dict(zip(items, self.titles(items), strict=True))

    def get(self, kind: str, text: str) -> dict[str, Any] | None:
        """One value by its id, parsed: users and popular have items and scores, items have title and categories."""
        if (kind, text) == ("popular", EVERYBODY) and self._everybody is not None:
            return self._everybody
        return self.get_many(kind, [text])[0]

    def get_many(self, kind: str, texts: Sequence[str]) -> list[dict[str, Any] | None]:
        """Several at once: where the store is far, one way for all."""
        found = self._rows.get(kind, [key(text) for text in texts])
        if None in found:
            self._still_there()
        return [None if value is None else json.loads(value) for value in found]

    def values(self, kind: str) -> Iterator[bytes]:
        """Every value of a kind."""
        for batch in self._rows.scan(kind):
            yield from batch["value"].to_pylist()
        self._still_there()

    def title(self, item: str) -> str:
        """Title of an item, its id where there is no card."""
        return self.titles([item])[0]

    def titles(self, items: Sequence[str]) -> list[str]:
        asked = [item for item in items if item not in self._titles]
        cards = dict(zip(asked, self.get_many("items", asked), strict=True)) if asked else {}
        return [self._titles.get(item) or _title(item, cards[item]) for item in items]

    def _still_there(self) -> None:
        """A row that is not there was never there: the record goes, or says FAILED, before the first row does."""
        if not self.lasting and not versions.whole(self._store, self.version):
            raise GoneError(f"{versions.name(self.version)} was pruned while it was read; ask again")


def _title(item: str, card: dict[str, Any] | None) -> str:
    return item if card is None else str(card["title"])


class Reader:
    """The version served now; notices a flip. One per process, shared by its threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stale = False
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._canary: Snapshot | None = None  # held, so that it is opened once
        self._held: WeakValueDictionary[int, Snapshot] = WeakValueDictionary()

    def now(self, user: str | None = None) -> Snapshot:
        """The current version, a canary for its users. Store gone: the last good one, and `stale` is true.

        Raises StoreError before any was published.
        """
        try:
            pointer = self.store.pointer()
            served = versions.pointed(self.store, pointer)
            if self._snapshot is None or self._snapshot.version != served:
                self._snapshot = self._of(served)
            self.stale = False
            if user is not None and (own := versions.pointed_for(self.store, pointer, user)) != served:
                self._canary = self._of(own)
                return self._canary
        except (OSError, StoreError) as error:
            if self._snapshot is None:
                raise StoreError(f"{self.store.where}: nothing is published yet; run a night first ({error})") from None
            self.stale = True
        return self._snapshot

    def ask(self, question: Callable[[Snapshot], Answer], user: str | None = None) -> Answer:
        """The answer of one version, the current one; asked anew when that is pruned meanwhile."""
        snapshot = self.now(user)
        for _ in range(TRIES):
            try:
                return question(snapshot)
            except GoneError as error:
                gone, snapshot = error, self._of(versions.current(self.store))
        raise gone

    def _of(self, version: int | None) -> Snapshot:
        """One snapshot per version and process, as long as somebody holds it."""
        if version is None:
            raise StoreError("no version is current")
        with self._lock:
            if (found := self._held.get(version)) is not None:
                return found
            try:
                found = Snapshot(self.store, version)
            except GoneError:  # the pointer may be a moment old
                found = Snapshot(self.store, versions.current(self.store) or version)
            self._held[found.version] = found
            return found
