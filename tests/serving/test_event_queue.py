"""queue.py: requests that wait are written together, each is answered when it is durable, and the queue is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from nightloom.event_journal import Event
from serving.events.queue import EventQueue, FullError, IntakeError


class Disk:
    """Writes when it is let."""

    def __init__(self) -> None:
        self.free, self.batches = threading.Event(), list[list[str]]()
        self.broken = False

    def write(self, events: list[Event]) -> None:
        assert self.free.wait(20)
        self.batches.append([event.id for event in events])
        if self.broken:
            raise IntakeError("events cannot be stored: disk full")


def events(*ids: str) -> list[Event]:
    return [Event("s", id, "{}") for id in ids]


def run(test: Callable[[Disk, EventQueue], Awaitable[None]], max_waiting: int = 100) -> Disk:
    disk = Disk()

    async def body() -> None:
        queue = EventQueue(disk.write, max_waiting)
        await test(disk, queue)
        await queue.close(lambda: None)

    asyncio.run(body())
    return disk


def test_what_comes_during_a_write_is_written_together_after_it() -> None:
    async def test(disk: Disk, queue: EventQueue) -> None:
        waiting = [asyncio.create_task(queue.put(events(id))) for id in "abc"]
        await asyncio.sleep(0.1)
        waiting += [asyncio.create_task(queue.put(events(id))) for id in "de"]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        disk.free.set()
        await asyncio.gather(*waiting)

    batches = run(test).batches
    assert [len(batch) for batch in batches] == [3, 2]
    assert sorted(id for batch in batches for id in batch) == list("abcde")


def test_beyond_its_bound_a_request_is_refused_at_once_and_later_taken() -> None:
    async def test(disk: Disk, queue: EventQueue) -> None:
        waiting = [asyncio.create_task(queue.put(events(str(number), f"{number}'"))) for number in range(5)]
        await asyncio.sleep(0.1)
        with pytest.raises(FullError, match="10 events wait to be written"):
            await queue.put(events("x"))
        disk.free.set()
        await asyncio.gather(*waiting)
        await queue.put(events("x"))

    assert run(test, max_waiting=10).batches[-1] == ["x"]


def test_a_failed_write_reaches_each_request_that_waits_and_the_next_one_is_tried() -> None:
    async def test(disk: Disk, queue: EventQueue) -> None:
        disk.broken = True
        disk.free.set()
        found = await asyncio.gather(*(queue.put(events(id)) for id in "ab"), return_exceptions=True)
        assert [type(each) for each in found] == [IntakeError, IntakeError]
        disk.broken = False
        await queue.put(events("c"))

    assert run(test).batches[-1] == ["c"]


def test_a_client_that_goes_takes_no_other_along() -> None:
    async def test(disk: Disk, queue: EventQueue) -> None:
        gone, stays = (asyncio.create_task(queue.put(events(id))) for id in "ab")
        await asyncio.sleep(0.1)
        gone.cancel()
        disk.free.set()
        await stays

    assert run(test).batches == [["a", "b"]]


def test_a_server_that_ends_writes_what_waits() -> None:
    async def test(disk: Disk, queue: EventQueue) -> None:
        task = asyncio.create_task(queue.put(events("a")))
        await asyncio.sleep(0.1)
        disk.free.set()
        await queue.close(lambda: None)
        assert task.done()
        await task

    disk = Disk()

    async def body() -> None:
        await test(disk, EventQueue(disk.write))

    asyncio.run(body())
    assert disk.batches == [["a"]]
