"""A publish, a rollback and a worker that is killed (kill -9), while readers ask a server with several workers.

Part of benchmarks/faults.py. Each answer has to be of one version, and none may be an error of the server.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.fault_load import ROUTES, Drive, drive, publish, running_api, write_config
from serving.stores import Store, versions

WORKERS = 4
FIRST, SECOND = 1, 2
"""The tags of two versions; see publish()."""
MOST = 120.0
"""Seconds to wait for a new worker."""


@dataclass(frozen=True)
class Change:
    """What readers saw of one change."""

    answers: int
    errors: int
    """Answers with a status from 500 on."""
    mixed: int
    """Lists whose items, titles and model version are not of one version."""
    stale: int
    broken: int
    """Connections that ended without an answer; the reader asked again on another one."""
    seconds: float
    """From a flip to the last list of the version before; from a kill to the first answer of a new worker."""


def measure(kind: str, store: Store, folder: Path, address: str | None, rate: int, seconds: float) -> dict[str, Change]:
    """Each change of a store with one version, `seconds` apart."""
    publish(store, FIRST)
    with running_api(write_config(folder / "api", kind), address, options=("--workers", str(WORKERS))) as (
        port,
        server,
    ):
        known = wait_for_workers(port, set(), WORKERS)
        changes: dict[str, Callable[[], object]] = {
            "publish": lambda: publish(store, SECOND),
            "rollback": lambda: versions.rollback(store, "benchmark"),
            "worker killed": workers(server)[0].kill,
        }
        ends: list[tuple[float, Callable[[], object]]] = [(0.0, lambda: wait_for_workers(port, known, 1))]
        seen = drive(
            port, rate, len(changes) * seconds + MOST, [*((seconds, each) for each in changes.values()), *ends], 1
        )
    found = {}
    lags = (seen.seconds_to_all_of(SECOND, 0), seen.seconds_to_all_of(FIRST, 1), seen.moments[3] - seen.begun[2])
    for number, (name, lag) in enumerate(zip(changes, lags, strict=True)):
        found[name] = summarize(seen, number, lag)
    return found


def summarize(seen: Drive, number: int, seconds: float) -> Change:
    """The replies to what was asked since a change began, and before the next one did."""
    until = seen.begun[number + 1] if number < 2 else float("inf")
    replies = [each for each in seen.replies if seen.begun[number] <= each.at < until]
    assert {each.route for each in replies} >= set(ROUTES), f"too few answers in {until - seen.begun[number]:.1f} s"
    return Change(
        len(replies), sum(each.status >= 500 for each in replies), sum(not each.of_one_push for each in replies),
        sum(each.stale for each in replies), sum(each.broken for each in replies), round(seconds, 2),
    )  # fmt: skip


def workers(server: psutil.Process) -> list[psutil.Process]:
    """The worker processes of a server."""
    return [child for child in server.children() if "multiprocessing.spawn" in " ".join(child.cmdline())]


def wait_for_workers(port: int, known: set[str], count: int) -> set[str]:
    """Ask until so many workers have answered that are not known -> their names. Raises AssertionError."""
    found, deadline = set[str](), time.monotonic() + MOST
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} workers answered within {MOST:.0f} s"
        with suppress(OSError, http.client.HTTPException):  # a connection of the killed worker
            found |= {worker_name(port)} - known
        time.sleep(0.02)
    return found


def worker_name(port: int) -> str:
    """The part of a request's id that names the worker, on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/v1/status")
        return connection.getresponse().headers["x-request-id"].partition("-")[0]


def table(kind: str, changes: dict[str, Change]) -> str:
    """Markdown."""
    lines = [
        f"| {kind} | answers | 5xx | mixed | stale | connections lost | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in changes.items():
        figures = (each.answers, each.errors, each.mixed, each.stale, each.broken, each.seconds)
        lines.append(f"| {name} | {' | '.join(f'{figure:,}' for figure in figures)} |")
    return "\n".join([*lines, ""])
