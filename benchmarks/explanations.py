"""Explanations while lists are read: one worker of `nightloom serve` on the project's published lists.

Readers ask for lists at a fixed rate; the latency of a list is measured without explanations, then while one
explanation after the other is asked for. The first explanation starts the process that explains. Then `--publish
COMMAND` publishes another night, and the first explanation after it is measured. Last line: JSON with seconds,
percentiles of lists in ms, and how much memory the serving process gained.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.fault_load import ask, running_api
from nightloom import settings as settings_module
from serving.stores import open_store
from serving.stores.reader import Reader

USERS = 200


async def read_lists(port: int, users: list[str], rate: float, seconds: float) -> list[float]:
    """Latencies in ms of lists that are asked for at a fixed rate, over one connection each."""

    async def one(user: str, at: float) -> float:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /v1/users/{user}/recommendations HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        await reader.read()
        writer.close()
        return 1000 * (time.perf_counter() - at)

    start, count = time.perf_counter() + 0.1, int(rate * seconds)
    return list(await asyncio.gather(*(one(users[n % len(users)], start + n / rate) for n in range(count))))


def percentiles(latencies: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(latencies, q)), 1) for q in (50, 99)}


@contextmanager
def repeated(work: Callable[[], None]) -> Iterator[None]:
    """Work again and again in a thread for as long as the block lasts."""
    over = threading.Event()

    def again() -> None:
        while not over.is_set():
            work()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Measure, on the project of NIGHTLOOM_CONFIG, of which a night is published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100, help="lists per second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--publish", help="command that publishes another night")
    given = parser.parse_args()
    settings = settings_module.load()
    snapshot = Reader(open_store(settings)).current()
    rows = [json.loads(bytes(value)) for value, _ in zip(snapshot.values("users"), range(USERS), strict=False)]
    asked = [f"/v1/users/{row['user']}/explain?item={row['items'][0]}" for row in rows if row["items"]]
    users, number = [row["user"] for row in rows], 0
    warm = list[float]()

    def explain() -> None:
        nonlocal number
        number += 1
        reply = ask(port, asked[number % len(asked)])
        assert reply.status == 200, reply
        warm.append(reply.seconds)

    with running_api(settings.file) as (port, process):
        baseline = asyncio.run(read_lists(port, users, given.rate, given.seconds))
        before = process.memory_info().rss
        explain()
        first = warm.pop()
        with repeated(explain):
            during = asyncio.run(read_lists(port, users, given.rate, given.seconds))
        if given.publish:
            subprocess.run(given.publish, shell=True, check=True)
            explain()
        (helper,) = process.children()
        found = {
            "first_s": round(first, 2), "warm_s": {f"p{q}": round(float(np.percentile(warm, q)), 3) for q in (50, 99)},
            "explanations": len(warm), "after_publish_s": round(warm[-1], 2) if given.publish else None,
            "lists_ms": percentiles(baseline),
            "lists_during_explanations_ms": percentiles(during),
            "gained_mib": round((process.memory_info().rss - before) / 2**20, 1),
            "explainer_mib": round(helper.memory_info().rss / 2**20),
        }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
