"""Histories of a version and today's events -> a user's list, as the next night makes it from the same events.

The same code as the night's: the model's encode() or scores(), the exact top-K, the slate rules. A user is scored in
a thread, one at a time in each worker. Who would wait longer than WAIT_SECONDS gets the night's list.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from typing import Any
from zlib import crc32

from nightloom.errors import NightloomError
from nightloom.lake import now
from nightloom.night.context import end_of
from nightloom.settings import Settings
from serving.events.interactions import Interaction
from serving.live.files import FACT, fetch_live_files
from serving.scoring_files import Scoring, UserHistory, read_scoring_files
from serving.stores.reader import Snapshot

WAIT_SECONDS = 0.2
LOAD_SECONDS = 1.0
"""So often a worker looks whether another version is served, whose files it then loads."""
RETRY_LOOKS = 60
"""Looks after which files that could not be read are tried again."""
MAX_CACHED = 10_000
"""Lists that are kept until their user acts again."""
NOBODY: dict[str, Any] = {"items": [], "weights": [], "at": [], "attributes": []}
MICROSECONDS = 1_000_000
log = logging.getLogger(__name__)


class LiveLists:
    """One for each worker of a server; safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded = dict[str, Scoring | None]()
        """By the name of the files; None where they cannot be read."""
        self._looks = 0
        self._scoring = threading.Lock()
        self._rows = dict[tuple[str, str], tuple[Sequence[Interaction], dict[str, Any]]]()

    @asynccontextmanager
    async def following(self, served: Callable[[], Iterable[Snapshot]]) -> AsyncIterator[None]:
        """Load the files of the versions that `served()` gives, for as long as the block lasts."""

        async def follow() -> None:
            while True:
                await asyncio.to_thread(lambda: self.load(served()))
                await asyncio.sleep(LOAD_SECONDS)

        task = asyncio.create_task(follow())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def load(self, snapshots: Iterable[Snapshot]) -> None:
        """Load the files of these versions, and let go of all others."""
        wanted = {name for snapshot in snapshots if (name := snapshot.meta.get(FACT)) is not None}
        self._looks += 1
        if self._looks % RETRY_LOOKS == 0:
            self._loaded = {name: found for name, found in self._loaded.items() if found is not None}
        for name in wanted - self._loaded.keys():
            self._loaded[name] = self._read(name)
        if wanted:
            self._loaded = {name: self._loaded[name] for name in wanted}

    def _read(self, name: str) -> Scoring | None:
        try:
            found = read_scoring_files(fetch_live_files(self._settings, name))
            found.list_of(UserHistory("", [], [], [], []))  # compiled code is loaded at the first call
            return found
        except Exception as error:  # whatever is wrong with the files, the night's lists are served
            log.warning("live lists: the files %s cannot be used, so the night's lists are served: %r", name, error)
            return None

    def row(self, snapshot: Snapshot, user: str, events: Sequence[Interaction]) -> dict[str, Any] | None:
        """A user's list with these events, as a row of the store; None where the night's list is all there is.

        That is so where the version has no files for it, where its lists have all of the events, and where too many
        users are waiting.
        """
        name = snapshot.meta.get(FACT, "")
        scoring, key = self._loaded.get(name), (name, user)
        if scoring is None:
            return None
        if (known := self._rows.get(key)) is not None and known[0] == events:
            return known[1]
        before = snapshot.get("histories", user) or NOBODY
        new = self._new_events(date.fromisoformat(snapshot.meta["night"]), before, events)
        if not new or not self._scoring.acquire(timeout=WAIT_SECONDS):
            return None
        try:
            row = _scored(scoring, user, before, new)
        except NightloomError as error:
            log.warning("live lists: a user gets the night's list: %s", error)
            return None
        finally:
            self._scoring.release()
        if len(self._rows) >= MAX_CACHED:
            self._rows.clear()
        self._rows[key] = events, row
        return row

    def _new_events(self, night: date, before: dict[str, Any], events: Sequence[Interaction]) -> list[Interaction]:
        """The events that the night's history lacks and that the next night will use."""
        end = int(end_of(night).timestamp()) * MICROSECONDS
        # An event of before the night's end was late. Where the night had it already, item and moment are there.
        known = set(zip(before["items"], before["at"], strict=True)) if any(each.at < end for each in events) else ()
        oldest = night + timedelta(days=1) - timedelta(days=self._settings.late.window_days)
        return [each for each in events if each.at >= end or (each.day >= oldest and (each.item, each.at) not in known)]


def _scored(scoring: Scoring, user: str, before: dict[str, Any], new: Sequence[Interaction]) -> dict[str, Any]:
    old = list(zip(before["at"], before["items"], before["weights"], strict=True))
    history = sorted([*old, *((each.at, each.item, each.weight) for each in new)], key=lambda event: event[0])
    ids, scores = scoring.list_of(
        UserHistory(
            user,
            [item for _, item, _ in history],
            [weight for _, _, weight in history],
            [at // MICROSECONDS for at, _, _ in history],
            before["attributes"],
        )
    )
    digest = crc32("\0".join(each.event_id for each in new).encode("utf8", "replace"))
    return {
        "items": ids, "scores": scores, "model_version": scoring.about["model_version"],
        "generated_at": f"{now():%Y-%m-%dT%H:%M:%SZ}", "events": f"{len(new)}.{digest:08x}",
    }  # fmt: skip
