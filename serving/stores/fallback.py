"""The one place that turns any trouble with the store into an answer: that of the last good version, marked stale.

A folder is read in the caller's own thread. A server is read in threads of ours, and nobody waits for them longer than
the deadline. A thread looks at the pointer five times a second and opens what it names. After FAILURES silent reads, or
one other error, no read is tried until that thread has read a row again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from nightloom.errors import StoreError
from serving.stores import overlay
from serving.stores.base import (
    EVERYBODY,
    DamagedError,
    NothingPublishedError,
    PageExpiredError,
    Store,
    VersionPrunedError,
    encode_key,
)
from serving.stores.kept_rows import load_rows, write_for_restart
from serving.stores.pointer import VersionKey
from serving.stores.pushes import POINTER
from serving.stores.reader import Reader, Served, Snapshot
from serving.stores.server import POINTER_SECONDS

Answer = TypeVar("Answer")
Question = Callable[[Snapshot, bool], Answer]
"""Reads a snapshot, and is told whether it is stale. May be asked twice."""
THREADS = 40
FAILURES = 3
"""Reads in a row that are silent until the deadline, after which requests do not wait for the server."""
PATIENCE = 4
"""Deadlines that a question to a server may take where it is long."""
OVERLAY_SECONDS = 0.5
"""So often the overlay's note is read."""
CHECK_SECONDS = 1.0
"""A folder's damaged version is checked again after so long, or when the pointer changes."""
log = logging.getLogger(__name__)


class FallbackReader:
    """Answers every question once a version was read, by this process or by an earlier one on this machine.

    `saved` is the file that keeps the last good version's popular lists for the next process. `count_failure` is called
    for each read that fails. Before any version was
    read, a question raises StoreError: NothingPublishedError where the store can be read.
    """

    def __init__(
        self, store: Store, deadline: float, saved: Path, count_failure: Callable[[], None] = lambda: None
    ) -> None:
        self.reader, self.store, self._count_failure = Reader(store), store, count_failure
        self.trouble: StoreError | None = None
        """Why answers are stale."""
        self.overlay = overlay.EMPTY
        """Blocked items and those out of stock, at most OVERLAY_SECONDS old while the store can be read."""
        self._saved_overlay = saved.with_name("overlay.json")
        self._overlay_text: str | None = None
        self._overlay_at = 0.0
        self._load_overlay()
        self._deadline, self._saved, self._failures = deadline, saved, 0
        self._served: Served | None = None
        self._pointer: str | None = None
        self._check_at = 0.0
        self._last_good = self._load_saved()
        self._closed, self._looked = threading.Event(), threading.Event()
        if store.remote:
            self._pool = ThreadPoolExecutor(THREADS, "store")
            threading.Thread(target=self._watch, name="store pointer", daemon=True).start()
            self._looked.wait(2 * deadline)

    def close(self) -> None:
        """End the threads."""
        self._closed.set()
        if self.store.remote:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def ask(self, question: Question[Answer], user: str | None = None, patience: int = 1) -> Answer:
        """An answer from the version that is served to a user; after `patience` deadlines from the last good one."""
        if not self.store.remote:
            return self.ask_in_thread(question, user)
        if self._circuit_is_open():
            return self._answer_stale(question)
        try:
            future = self._pool.submit(self._ask_store, question, user)
            answer = await asyncio.wait_for(asyncio.wrap_future(future), patience * self._deadline)
        except (OSError, StoreError) as error:  # TimeoutError is an OSError
            self._note_failure(error)
            return self._answer_stale(question)
        self._failures = 0
        return answer

    async def ask_apart(self, question: Question[Answer], user: str | None = None) -> Answer:
        """The same for a question that takes long: other requests are answered meanwhile."""
        if self.store.remote:
            return await self.ask(question, user, PATIENCE)
        return await asyncio.to_thread(self.ask_in_thread, question, user)

    async def ask_version(
        self, key: VersionKey, question: Question[Answer], user: str | None = None, apart: bool = False
    ) -> Answer:
        """The answer of a version that is served, or was served and is kept. Raises PageExpiredError for any other.

        `apart` says that the question takes long.
        """

        def of_version(snapshot: Snapshot, stale: bool) -> Answer:
            if snapshot.key == key:
                return question(snapshot, stale)
            if stale:
                raise PageExpiredError("the store is in trouble, so this page cannot be read; ask for page one")
            return question(self.reader.retained(key), False)

        served = self._served
        current = served is not None and served.of(user).key == key
        return await (self.ask if current and not apart else self.ask_apart)(of_version, user)

    def split_by_version(self, users: Iterable[str]) -> list[list[str]]:
        """Users who get the same version, together."""
        served, found = self._served, dict[VersionKey | None, list[str]]()
        for user in dict.fromkeys(users):
            found.setdefault(None if served is None else served.of(user).key, []).append(user)
        return list(found.values())

    def ask_in_thread(self, question: Question[Answer], user: str | None = None) -> Answer:
        """The same for a caller that may wait."""
        if self._circuit_is_open():
            return self._answer_stale(question)
        try:
            if self.store.remote:
                answer = self._pool.submit(self._ask_store, question, user).result(self._deadline)
            else:
                self._look()
                answer = self._ask_store(question, user)
        except (OSError, StoreError) as error:
            self._note_failure(error)
            return self._answer_stale(question)
        self._failures = 0
        return answer

    def served_now(self) -> Served | None:
        """What a folder's pointer names now; None while the store is in trouble. Raises StoreError."""
        if self._circuit_is_open():
            return None
        self._look()
        return self._served

    def state(self) -> tuple[Snapshot, bool]:
        """The version that answers come from, and whether it is stale; without a wait for a server."""
        if not self.store.remote:
            return self.ask_in_thread(lambda snapshot, stale: (snapshot, stale))
        if self._served is not None and self.trouble is None:
            return self._served.snapshot, False
        return self._require_last_good(), True

    def snapshots(self) -> list[Snapshot]:
        """The versions that are served now: the current one, and a canary; none while the store was never read."""
        with suppress(StoreError):
            self.state()  # of a folder, this looks at the pointer
        served = self._served
        return [] if served is None else [each for each in (served.snapshot, served.canary) if each is not None]

    def _circuit_is_open(self) -> bool:
        """Whether a read of the store would fail, so that it is not tried."""
        if self.store.remote:
            return self.trouble is not None or self._served is None
        try:
            checked = time.monotonic() < self._check_at and self.store.read_pointer() == self._pointer
        except StoreError:  # the caller meets it again
            return False
        return checked and isinstance(self.trouble, DamagedError)

    def _ask_store(self, question: Question[Answer], user: str | None) -> Answer:
        assert self._served is not None  # the callers have looked
        try:
            return question(self._served.of(user), False)
        except VersionPrunedError:
            return self.reader.ask(lambda snapshot: question(snapshot, False), user)

    def _answer_stale(self, question: Question[Answer]) -> Answer:
        good = self._require_last_good()
        try:
            return question(good, True)
        except StoreError:  # a folder's version that is still mapped, and damaged
            self._last_good = good.in_memory
            return question(self._last_good, True)

    def _require_last_good(self) -> Snapshot:
        if self._last_good is not None:
            return self._last_good
        if isinstance(self.trouble, NothingPublishedError):
            raise NothingPublishedError(str(self.trouble))
        trouble = self.trouble or f"{self.store.location} has not answered yet"
        raise StoreError(
            f"the store cannot be read, and this machine has no copy of its lists ({trouble}); start "
            f"{self.store.location}, or correct places; this server goes on trying"
        )

    def _note_failure(self, error: OSError | StoreError) -> None:
        self._count_failure()
        if isinstance(error, TimeoutError):
            self._failures += 1
            if self._failures < FAILURES or self.trouble is not None:
                return
            error = StoreError(f"{self.store.location}: no answer within {1000 * self._deadline:g} ms")
        if isinstance(error, DamagedError):
            self.reader.forget()
            self._check_at = time.monotonic() + CHECK_SECONDS
            if self._last_good is not None:
                self._last_good = self._last_good.in_memory
        if isinstance(error, NothingPublishedError) and self._last_good is not None:
            error = NothingPublishedError(
                f"{self.store.location} was emptied: it names no version; publish a night again"
            )
        self._set_trouble(error if isinstance(error, StoreError) else StoreError(f"{self.store.location}: {error}"))

    def _set_trouble(self, error: StoreError | None) -> None:
        if self.trouble is None and self._served is not None and not self._served.snapshot.survives_pruning:
            self._last_good = self._served.snapshot.in_memory
        if str(error) != str(self.trouble):
            log.warning("%s", "the store answers again" if error is None else f"the store is in trouble: {error}")
        self.trouble, self._failures = error, 0

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                self._look()
            except (OSError, StoreError) as error:
                self._note_failure(error)
            except Exception as error:  # this thread must go on: without it answers would be stale for ever
                log.exception("the pointer of %s cannot be followed", self.store.location)
                self._note_failure(StoreError(f"{self.store.location}: {error!r}; the server's log has more"))
            self._looked.set()
            self._closed.wait(POINTER_SECONDS)

    def _look(self) -> None:
        """Open what the pointer names, and read a row after trouble. Raises StoreError."""
        store = self.store
        self._pointer = store.read_note(POINTER) if store.remote else store.read_pointer()
        if time.monotonic() - self._overlay_at >= OVERLAY_SECONDS:
            self._look_at_overlay()
        served = self.reader.serve(self._pointer)
        if store.remote and self.trouble is not None:
            store.open_version(served.snapshot.version).get("popular", [encode_key(EVERYBODY)])
        if self._served is None or self._served.snapshot is not served.snapshot:
            self._keep(served.snapshot)
        self._served = served
        if self.trouble is not None:
            self._set_trouble(None)

    def _look_at_overlay(self) -> None:
        """Read the overlay's note; one that cannot be understood changes nothing."""
        text, self._overlay_at = self.store.read_note(overlay.NOTE), time.monotonic()
        emptied = text is None and self._pointer is None
        if text == self._overlay_text or emptied:  # of an emptied store the last version is served, as it was
            return
        self._overlay_text = text
        try:
            self.overlay = overlay.parse(text, self.store.location)
            write_for_restart(self._saved_overlay, {"location": self.store.location, "text": text})
        except (OSError, StoreError) as error:
            log.warning("%s", error)

    def _load_overlay(self) -> None:
        """The overlay of the last process, for as long as the store cannot be read."""
        try:
            found = json.loads(self._saved_overlay.read_text(encoding="utf8"))
            if found["location"] == self.store.location:
                self.overlay = overlay.parse(found["text"], self.store.location)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, StoreError) as error:
            log.warning("%s cannot be read (%r); delete it", self._saved_overlay, error)

    def _keep(self, snapshot: Snapshot) -> None:
        """Make a version the last good one, here and for the next process."""
        self._last_good = snapshot if snapshot.survives_pruning else snapshot.in_memory
        try:
            snapshot.kept.save(self._saved, snapshot.push, self.store.location)
        except OSError as error:
            log.warning("%s cannot be written (%s): a restart without the store will have no lists", self._saved, error)

    def _load_saved(self) -> Snapshot | None:
        try:
            found = load_rows(self._saved, self.store.location)
            return None if found is None else Snapshot.of_kept_rows(*found)
        except StoreError as error:
            log.warning("%s", error)
            return None
