"""The intake of a worker: the contracts of the sources that the API feeds, and where their events are kept.

Events of a source of files go to this machine's journal, from which they reach the landing folder every few seconds.
Events of a Kafka source go to their topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

from nightloom.errors import printable
from nightloom.event_journal import Event, Journal, JournalError, api_sources, journal_file, landing_place
from nightloom.settings import Settings, Source
from serving.events.contract import EventContract
from serving.events.queue import EventQueue, IntakeError
from serving.events.recent import LOOK_SECONDS, RecentEvents

if TYPE_CHECKING:
    from serving.events.topic import TopicWriter

EXPORT_SECONDS = 10.0
log = logging.getLogger(__name__)


def _topics(fed: list[Source]) -> dict[str, TopicWriter]:
    """A writer for each source in Kafka. Its library is loaded at need."""
    if not any(source.format == "kafka" for source in fed):
        return {}
    from serving.events.topic import TopicWriter

    return {source.name: TopicWriter(source) for source in fed if source.format == "kafka"}


class Intake:
    """One for each worker of a server.

    `needed_since` gives the moment, in Unix seconds, from which on received events may be of no published night.
    """

    def __init__(self, settings: Settings, needed_since: Callable[[], float]) -> None:
        fed = [source for source in settings.sources if source.api]
        self.contracts = {source.name: EventContract(settings, source) for source in fed}
        self.queue = EventQueue(self._write)
        self._file, self._needed_since = journal_file(settings), needed_since
        self._landing = {source.name: landing_place(settings, source) for source in api_sources(settings)}
        self._topics = _topics(fed)
        self.recent = RecentEvents(self._file, {name: self.contracts[name].interactions for name in self._landing})
        self._journal: Journal | None = None
        self._trouble = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Export every few seconds for as long as the block lasts, and what is left at its end."""
        tasks = [asyncio.create_task(self._export_often()), asyncio.create_task(self._look_often())]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.recent.close()
        await self.queue.close(self._close_journal)
        await asyncio.to_thread(self._export)

    def _write(self, events: list[Event]) -> None:
        """Make events durable, in the queue's thread. Raises IntakeError."""
        try:
            if stored := [event for event in events if event.source in self._landing]:
                self._journal = self._journal or Journal(self._file)
                self._journal.add(stored)
        except (OSError, JournalError) as error:
            self._close_journal()
            raise IntakeError(f"events cannot be stored: {printable(str(error))}; send them again later") from error
        for name, topic in self._topics.items():
            topic.write([event for event in events if event.source == name])

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def _export_often(self) -> None:
        while True:
            await asyncio.to_thread(self._export)
            await asyncio.sleep(EXPORT_SECONDS)

    async def _look_often(self) -> None:
        while True:
            self.recent.look()
            await asyncio.sleep(LOOK_SECONDS)

    def _export(self) -> None:
        """Write the journal to the landing folders. What cannot be written stays in the journal for the next time."""
        from obstore.exceptions import BaseError

        if not self._file.exists():
            return
        trouble = ""
        try:
            with closing(Journal(self._file)) as journal:
                journal.export(self._landing, wait=False, needed_since=self._needed_since())
        except (OSError, JournalError, BaseError) as error:
            trouble = f"events stay in {self._file}, as the landing folder cannot be written: {printable(str(error))}"
        if trouble and trouble != self._trouble:
            log.error("%s", trouble[:500])
        self._trouble = trouble
