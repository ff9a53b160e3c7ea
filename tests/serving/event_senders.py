"""Many senders of events against a real server whose workers are killed: what got a 202, and what is in the files."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.fault_load import CONFIG, running_api

FED = """api = true
fields.id = "string"
fields.u = "string"
fields.i = "string"
fields.e = "string"
fields.v = "double"
fields.t = "timestamp"
fields.pos = "int"
fields.slate = "string"
columns = { event_id = "id", user_id = "u", item_id = "i", event = "e", value = "v", occurred_at = "t" }
"""
RETRY_SECONDS = 60.0
Make = Callable[[str], dict[str, Any]]
"""An id -> an event with this id."""


def config_text() -> str:
    """fault_load's project with a source that the API feeds."""
    lines = CONFIG.splitlines(keepends=True)
    return "".join(FED if line.startswith("fields") else line for line in lines if not line.startswith("columns"))


def event(id: str, **fields: Any) -> dict[str, Any]:
    """A good event of that source."""
    return {"id": id, "u": "u1", "i": "i1", "e": "rating", "t": "2024-03-14T09:30:00Z"} | fields


class Senders:
    """Send events in batches, each batch again until it gets a 202; note what got one."""

    def __init__(self, port: int, make: Make) -> None:
        self._make = make
        self._url = f"http://127.0.0.1:{port}/v1/events"
        self.acknowledged = set[str]()

    def send_all(self, count: int, batch: int, senders: int = 8) -> None:
        with ThreadPoolExecutor(senders) as pool:
            for _ in pool.map(
                self._send, [range(start, min(start + batch, count)) for start in range(0, count, batch)]
            ):
                pass

    def _send(self, batch: range) -> None:
        ids = [f"e{number}" for number in batch]
        events = [self._make(id) for id in ids]
        deadline = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(self._url, json=events, timeout=10)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code == 202:
                assert answer.json() == {"accepted": len(ids), "rejected": []}
                self.acknowledged.update(ids)
                return
            assert answer.status_code in (429, 503), answer.text
            assert int(answer.headers["retry-after"]) >= 1
            time.sleep(0.2)
        raise AssertionError(f"no 202 in {RETRY_SECONDS} s")


@contextmanager
def killed_workers(server: psutil.Process, senders: Senders, between: tuple[int, int]) -> Iterator[list[int]]:
    """SIGKILL a random worker each time that so many events more got a 202 -> the pids that were killed."""
    ended, killed, dice = threading.Event(), list[int](), random.Random(7)

    def kill() -> None:
        due = dice.randint(*between)
        while not ended.wait(dice.uniform(0.001, 0.02)):
            workers = [child for child in server.children() if is_worker(child)]
            if len(senders.acknowledged) >= due and workers:
                victim = dice.choice(workers)
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)
                due = len(senders.acknowledged) + dice.randint(*between)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def storm(config: Path, count: int, batch: int, between: tuple[int, int], make: Make = event) -> set[str]:
    """Send events to a server whose three workers are killed, then kill all of it -> the ids that got a 202."""
    with running_api(config, log=config.parent / "api.log", options=["--workers", "3"]) as (port, server):
        senders = Senders(port, make)
        with killed_workers(server, senders, between) as killed:
            senders.send_all(count, batch)
        assert len(killed) >= 3, killed
        for process in [server, *server.children(recursive=True)]:
            process.send_signal(signal.SIGKILL)
    return senders.acknowledged


def landed(folder: Path) -> Counter[str]:
    """Event id -> how often it is in the landing files that bronze would read."""
    names = [file for file in folder.rglob("*.jsonl") if not file.name.startswith(".")]
    return Counter(json.loads(line)["id"] for file in names for line in file.read_text(encoding="utf8").splitlines())


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
