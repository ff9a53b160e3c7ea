"""Events of many requests, written together: while one write is under way the next ones gather.

A request is answered when its events are durable. What waits is bounded: beyond it a request is refused at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from nightloom.errors import NightloomError
from nightloom.event_journal import Event

MAX_WAITING = 20_000
"""Events of one worker that wait for the disk."""
Write = Callable[[list[Event]], None]


class IntakeError(NightloomError):
    """Events cannot be stored right now."""


class FullError(NightloomError):
    """Too many events wait to be written."""


class EventQueue:
    """One for each worker of a server. `write` makes events durable, in a thread of its own."""

    def __init__(self, write: Write, max_waiting: int = MAX_WAITING) -> None:
        self._write, self._max_waiting = write, max_waiting
        self._waiting = list[tuple[list[Event], asyncio.Future[None]]]()
        self._count = 0
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "events")

    async def put(self, events: list[Event]) -> None:
        """Return when events are durable. Raises FullError, and what `write` raises."""
        if self._count + len(events) > self._max_waiting:
            raise FullError(f"{self._count:,} events wait to be written; send these again")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, written))
        self._count += len(events)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def close(self, last: Callable[[], None]) -> None:
        """Write what waits, and end the thread; it calls `last` before its end."""
        if self._writer is not None:
            await self._writer
        await asyncio.get_running_loop().run_in_executor(self._thread, last)
        self._thread.shutdown()

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            events = [event for each, _ in batch for event in each]
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._write, events)
                failure = None
            except Exception as error:  # the requests that wait raise it
                failure = error
            self._count -= len(events)
            for _, written in batch:
                if written.done():  # its client has gone
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)
