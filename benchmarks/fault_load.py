"""A real API process over a small store, and requests to it at a fixed rate while the store is in trouble."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import DEADLINE, free_port
from nightloom.lake import now
from serving.stores import Store, base, versions
from serving.stores.pushes import Push, PushState

ITEMS = [f"i{number}" for number in range(20)]
USERS = [f"u{number}" for number in range(200)]
K = 10
ROUTES = {
    "own list": "/v1/users/u{}/recommendations",
    "stranger": "/v1/users/nobody{}/recommendations?segment=market=DE",
    "popular": "/v1/popular",
    "segment": "/v1/popular?segment=market=DE",
    "similar": "/v1/items/i{}/similar",
    "item": "/v1/items/i{}",
    "status": "/v1/status",
    "health": "/healthz",
}
"""Name -> path; {} is a number that changes."""
TRIES = 5
"""Connections for one request; each of a killed process is broken."""
CONSOLE = "console"
"""The console's first page, once a second."""
MAIN = "from nightloom.cli import main; main()"
PROJECT = "small"
CONFIG = f"""
[project]
name = "{PROJECT}"

[[sources]]
name = "ratings"
kind = "events"
path = "landing"
format = "json"
fields = {{ u = "string", i = "string", e = "string", t = "timestamp" }}
columns = {{ user_id = "u", item_id = "i", event = "e", occurred_at = "t" }}

[[signals]]
event = "rating"

[[models]]
name = "popularity"
"""


@dataclass(frozen=True)
class Reply:
    """One request's answer."""

    route: str
    at: float
    """When it was asked, time.monotonic()."""
    seconds: float
    status: int
    content: dict[str, Any]
    """JSON; of a page, whether it says that the store is in trouble."""
    broken: int = 0
    """Connections that ended before they gave this answer."""

    @property
    def stale(self) -> bool:
        """Whether the answer says that it is not from the store."""
        return bool(self.content.get("stale")) or self.content.get("status") == "stale"

    @property
    def fresh_and_personal(self) -> bool:
        return self.content.get("source") == "personal" and not self.stale

    @property
    def of_one_push(self) -> bool:
        """Whether all of a list are of one push of publish(). True for what is no list."""
        return "items" not in self.content or self.matches_push(int(self.content["model_version"]))

    def matches_push(self, tag: int) -> bool:
        """Whether list and titles are those that publish() made for a tag."""
        items = self.content.get("items", [])
        return all(item["score"] == tag and item["title"].startswith(f"{tag} ") for item in items)


def publish(store: Store, tag: int) -> Push:
    """A version whose scores and titles all hold the tag."""
    with store.exclusive_lock():
        versions.recover(store)
        push = versions.begin_push(store, "2026-03-14", f"run-{tag}")
        store.begin_load(push.version)
        counts = {}
        for kind, bodies in _bodies(tag).items():
            header = base.value_header(push.version, "2026-03-14T00:00:00Z")
            rows = sorted((base.encode_key(key), f"{header}{body}}}".encode()) for key, body in bodies.items())
            (batch,) = base.to_batches(iter(rows))
            store.load_part(push.version, (kind, 0), batch)
            counts[kind] = len(rows)
        store.finish_load(push.version)
        facts = {
            "version": push.version, "night": "2026-03-14", "run_id": f"run-{tag}", "model_version": str(tag),
            "generated_at": "2026-03-14T00:00:00Z", "published_at": now().isoformat(), "checksum": f"{tag:016x}",
            "counts": counts, "k": K, "stored": K, "inputs": {},
        }  # fmt: skip
        push = versions.set_state(store, push, PushState.VERIFIED, **facts)
        push = versions.flip(store, push)
        versions.prune(store, 3)
    return push


def _bodies(tag: int) -> dict[str, dict[str, str]]:
    """Kind -> id -> what follows a value's head."""
    model = f'"model_version":"{tag}"'
    lists = f'"items":{json.dumps(ITEMS[:K])},"scores":{json.dumps([float(tag)] * K)}'
    return {
        "users": {user: f'"user":"{user}",{model},{lists}' for user in USERS},
        "items": {item: f'"title":"{tag} {item}","categories":[],"available":true' for item in ITEMS},
        "popular": {segment: f'"segment":"{segment}",{lists}' for segment in ("all", "market=DE")},
        "similar": {item: f'"item":"{item}",{model},{lists}' for item in ITEMS},
    }


def write_config(folder: Path, kind: str) -> Path:
    """A nightloom.toml for a kind of store."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nightloom.toml"
    config.write_text(f'{CONFIG}\n[store]\nkind = "{kind}"\n', encoding="utf8")
    return config


@contextmanager
def running_api(
    config: Path, store_url: str | None = None, log: Path | None = None, options: Sequence[str] = ()
) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of `nightloom serve`, once it answers anything. It writes to `log`, or where we do."""
    port = free_port()
    place = {} if store_url is None else {"NIGHTLOOM_PLACES__STORE_URL": store_url}
    command = [sys.executable, "-c", MAIN, "--config", str(config), "serve", "--port", str(port), *options]
    with nullcontext() if log is None else log.open("ab") as stream:
        process = psutil.Popen(command, env=os.environ | place, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 2 * DEADLINE
        while True:
            try:
                ask(port, "/healthz")
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{command} does not answer; see {log or 'above'}") from error
                time.sleep(0.05)
        yield port, process
    finally:
        with suppress(psutil.NoSuchProcess):  # a test has ended it
            process.terminate()
        process.wait(DEADLINE)


def ask(port: int, path: str) -> Reply:
    """One request."""

    async def once() -> Reply:
        async with Connections(port) as connections:
            return await connections.get(path, path)

    return asyncio.run(once())


class Connections:
    """Open connections to the API: a request takes an idle one."""

    def __init__(self, port: int) -> None:
        self._port, self._idle = port, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    async def __aenter__(self) -> Connections:
        return self

    async def __aexit__(self, *error: object) -> None:
        for pair in self._idle:
            pair[1].close()
            await pair[1].wait_closed()

    async def get(self, route: str, path: str) -> Reply:
        """Ask; again on another connection where one ends without an answer, as clients do."""
        at, broken = time.monotonic(), 0
        while True:
            pair = await self._connection()
            try:
                status, content = await _exchange(*pair, path)
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                pair[1].close()
                broken += 1
                if broken == TRIES:
                    raise
        self._idle.append(pair)
        return Reply(route, at, time.monotonic() - at, status, content, broken)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for pair in [pair for pair in self._idle if pair[0].at_eof()]:  # idle for 5 s: the API closed it
            self._idle.remove(pair)
            pair[1].close()
        return self._idle.pop(0) if self._idle else await asyncio.open_connection("127.0.0.1", self._port)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> tuple[int, dict[str, Any]]:
    """A request and its answer: status and content."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
    body = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    content = json.loads(body) if "application/json" in head else {"stale": b"The store is in trouble" in body}
    return int(head.split(" ")[1]), content


Faults = list[tuple[float, Callable[[], object]]]
"""Seconds after the fault before has taken effect, or after the start, and what is called then."""


def drive(port: int, rate: int, seconds: float, faults: Faults, settle: float = math.inf) -> Drive:
    """Ask all routes in turn, `rate` requests a second in all; call each of `faults` at its time.

    A request is sent at its time, also while others wait for their answer. It ends early, `settle` seconds after the
    first personal answer that follows the last fault.
    """
    return asyncio.run(_drive(port, rate, seconds, faults, settle))


@dataclass(frozen=True)
class Drive:
    """All replies, and of each fault the moments when it began and when it had taken effect."""

    replies: list[Reply]
    begun: list[float]
    moments: list[float]

    def between(self, start: int, end: int) -> list[Reply]:
        """Replies to requests that were sent after one fault and answered before another.

        -1 is the start, and len(moments) the end.
        """
        first, last = [*self.moments, 0.0][start], [*self.begun, math.inf][end]
        return [reply for reply in self.replies if first <= reply.at and reply.at + reply.seconds < last]

    def seconds_to_personal(self, fault: int) -> float:
        """From a fault's moment to the first personal answer of the store; infinity where there is none."""
        after = [one.at for one in self.replies if one.fresh_and_personal and one.at >= self.moments[fault]]
        return min(after, default=math.inf) - self.moments[fault]

    def seconds_to_all_of(self, tag: int, fault: int) -> float:
        """From a flip to the last list, asked for before the next fault, that is not of a push of publish()."""
        moment, until = self.moments[fault], [*self.begun, math.inf][fault + 1]
        lists = [one for one in self.replies if moment <= one.at < until and "items" in one.content]
        return max((one.at for one in lists if not one.matches_push(tag)), default=moment) - moment

    def first_personal(self) -> float:
        """The moment of the first personal answer after the last fault; infinity where there is none."""
        return self.moments[-1] + self.seconds_to_personal(-1) if self.moments else math.inf


async def _drive(port: int, rate: int, seconds: float, faults: Faults, settle: float) -> Drive:
    names, begun, replies, personal_at = list(ROUTES), time.monotonic(), list[asyncio.Task[Reply]](), math.inf
    async with Connections(port) as connections:
        moments = asyncio.create_task(_cause(faults))
        for number in range(int(rate * seconds)):
            if moments.done() and personal_at == math.inf:
                answered = [each.result() for each in replies[-rate:] if each.done()]
                personal_at = Drive(answered, *moments.result()).first_personal()
            if time.monotonic() > personal_at + settle:
                break
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            name = names[number % len(names)]
            path = ROUTES[name].format(number // len(names) % len(ITEMS))
            replies.append(asyncio.create_task(connections.get(name, path)))
            if number % rate == rate // 2:
                replies.append(asyncio.create_task(connections.get(CONSOLE, "/console")))
        return Drive(list(await asyncio.gather(*replies)), *await moments)


async def _cause(faults: Faults) -> tuple[list[float], list[float]]:
    starts, moments = list[float](), list[float]()
    for seconds, fault in faults:
        await asyncio.sleep(seconds)  # not at a fixed time: to empty Cassandra takes longer than to empty Redis
        starts.append(time.monotonic())
        await asyncio.to_thread(fault)
        moments.append(time.monotonic())
    return starts, moments
