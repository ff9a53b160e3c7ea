"""Route x fault: what readers get while the store is killed, hung, emptied or damaged, at 200 requests a second.

Real Redis, PostgreSQL and Cassandra, LMDB and files in a folder, and a real `nightloom serve` in front of each. A cell:
status codes, share of stale answers, p50 / p99 in ms. Before, a publish, a rollback and a killed worker of four: see
benchmarks/changes.py. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import redis
from cassandra.cluster import Cluster

from benchmarks import changes
from benchmarks.cassandra_server import answers, cassandra_server
from benchmarks.fault_load import CONSOLE, PROJECT, ROUTES, Reply, drive, publish, running_api, write_config
from benchmarks.servers import Server, postgresql, redis_server
from serving.stores import Store, store_class

BEFORE = 2.0
"""Seconds before the fault."""
AFTER = 4.0
"""Seconds after the end of the fault and the first personal answer."""
MOST = 120.0
"""Seconds to wait for that answer; Cassandra takes some 15 s to start."""
KEPT = ("--appendonly", "yes", "--appendfsync", "always")
"""Redis keeps its rows over a kill."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10, help="of each fault")
    parser.add_argument("--stores", nargs="*", default=["redis", "postgresql", "cassandra", "lmdb", "files"])
    options = parser.parse_args()
    found = dict[str, dict[str, Any]]()
    for kind in options.stores:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            faults = _server_faults(kind, stack, folder) if kind in SERVERS else _folder_faults(kind, folder)
            columns, seconds = dict[str, list[Reply]](), dict[str, float]()
            store, address, by_name = faults
            found[kind] = _changes(kind, store, folder, address, options)
            publish(store, 1)
            port, _ = stack.enter_context(running_api(write_config(folder / "api", kind), address))
            drive(port, options.rate, BEFORE, [])  # warm
            for name, (cause, end) in by_name.items():
                causes = [(BEFORE, cause), (options.seconds, end)]
                seen = drive(port, options.rate, BEFORE + options.seconds + MOST, causes, AFTER)
                columns |= {"normal": seen.between(-1, 0)} if not columns else {}
                columns[name] = seen.between(0, 1)
                seconds[name] = round(seen.seconds_to_personal(1), 2)
            print(table(kind, columns, seconds))
            worst = {name: round(max(each.p99 for each in summarize(some).values())) for name, some in columns.items()}
            found[kind] |= {"p99_ms": worst, "seconds_to_personal": seconds}
    print(json.dumps(found))


def _changes(kind: str, store: Store, folder: Path, address: str | None, options: argparse.Namespace) -> dict[str, Any]:
    measured = changes.measure(kind, store, folder, address, options.rate, options.seconds)
    print(changes.table(kind, measured))
    return {name: asdict(each) for name, each in measured.items()}


Faults = tuple[Store, str | None, dict[str, tuple[Callable[[], object], Callable[[], object]]]]
"""Store, the server's address, and of each fault its beginning and its end."""
SERVERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "redis": lambda folder: redis_server(folder, *KEPT),
    "postgresql": lambda folder: postgresql(),
    "cassandra": cassandra_server,
}
"""Kind -> a server with its data in a folder."""


def _server_faults(kind: str, stack: ExitStack, folder: Path) -> Faults:
    server = stack.enter_context(SERVERS[kind](folder / kind))
    store = store_class(kind)(server.address, PROJECT)
    return store, server.address, {
        "killed": (server.kill, lambda: restart(server)),
        "hung": (lambda: server.signal_all(signal.SIGSTOP), lambda: server.signal_all(signal.SIGCONT)),
        "emptied": (lambda: empty(server), lambda: publish(store, 2)),
    }  # fmt: skip


def _folder_faults(kind: str, folder: Path) -> Faults:
    place = folder / "api" / "data" / "store"
    store = store_class(kind)(str(place), PROJECT)

    def heal() -> None:
        publish(store, 2)

    return store, None, {
        "file emptied": (lambda: cut(place, 0), heal),
        "file cut": (lambda: cut(place, 0.5), heal),
        "damaged pages": (lambda: damage(place), heal),
        "folder removed": (lambda: rmtree(place), heal),
    }  # fmt: skip


def restart(server: Server) -> None:
    """Start a killed server again."""
    if server.address.startswith("redis"):
        with redis.Redis.from_url(server.address) as client:
            server.start(client.ping)
    elif server.address.startswith("cassandra"):
        server.start(lambda: answers(server.address))
    else:
        server.start(lambda: psycopg.connect(server.address).close())


def empty(server: Server) -> None:
    """Delete everything that a server holds of ours."""
    if server.address.startswith("redis"):
        with redis.Redis.from_url(server.address) as client:
            client.flushall()
    elif server.address.startswith("cassandra"):
        with Cluster(["127.0.0.1"], port=urlsplit(server.address).port) as cluster:
            cluster.connect().execute(f"DROP KEYSPACE {PROJECT}", timeout=20)
    else:
        with psycopg.connect(server.address, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {PROJECT} CASCADE")


def data_files(place: Path) -> list[Path]:
    """The files of the newest version in a folder."""
    newest = max(folder for folder in place.iterdir() if folder.name.startswith("v"))
    return [file for file in newest.iterdir() if file.suffix in (".mdb", ".arrow")]


def cut(place: Path, share: float) -> None:
    """Truncate the newest version's files to a share of their bytes."""
    for file in data_files(place):
        with file.open("r+b") as handle:
            handle.truncate(int(file.stat().st_size * share))


def damage(place: Path) -> None:
    """Overwrite the newest version's files, except for their first 8 KiB, in place."""
    for file in data_files(place):
        size = file.stat().st_size
        with file.open("r+b") as handle:
            handle.seek(min(8192, size // 2))
            handle.write(b"\xff" * (size - min(8192, size // 2)))


@dataclass(frozen=True)
class Summary:
    """The replies of one route: status codes, share of stale answers, median and 99th percentile in ms."""

    codes: list[int]
    stale: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.codes))}, {self.stale:.0%} stale, {self.p50:.0f} / {self.p99:.0f}"


def summarize(replies: list[Reply]) -> dict[str, Summary]:
    """Route -> summary."""
    found = {}
    for route in (*ROUTES, CONSOLE):
        mine = [reply for reply in replies if reply.route == route]
        if mine:
            p50, p99 = np.percentile([1000 * reply.seconds for reply in mine], [50, 99])
            stale = sum(reply.stale for reply in mine) / len(mine)
            found[route] = Summary(sorted({reply.status for reply in mine}), stale, float(p50), float(p99))
    return found


def table(kind: str, columns: dict[str, list[Reply]], seconds: dict[str, float]) -> str:
    """The table of one kind of store, as Markdown."""
    lines = [f"| {kind} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    found = [summarize(replies) for replies in columns.values()]
    for route in (*ROUTES, CONSOLE):
        lines.append(f"| {route} | {' | '.join(str(each.get(route, '')) for each in found)} |")
    last = [f"{seconds[name]:.1f} s" if name in seconds else "" for name in columns]
    return "\n".join([*lines, f"| personal again after | {' | '.join(last)} |", ""])


if __name__ == "__main__":
    main()
