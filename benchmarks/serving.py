"""Requests a second and times of the API against a raw asyncio server, with wrk, in the same run; and of live lists.

Each store gets a published night: lists of 20 for a million users (--users). wrk asks for the lists of random users
from 16 connections, first of the raw server, which sends an answer of the same size without looking at the request,
then of `nightloom serve` with one worker and with more. Live lists (--items, --factors): a user sends an event and asks
for their list, while wrk asks for others'; each list is compared with that of the night's code. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import live_project
from benchmarks.fault_load import running_api
from benchmarks.publish import D, pass_gate, settings_text, time_publish, write_lake
from benchmarks.servers import free_port, postgresql, program, redis_server
from nightloom.night import stages
from nightloom.night.run import run_stage

K = 20
CONNECTIONS = 16
MIB = 1 << 20
SCRIPT = """
local users = {users}
math.randomseed(os.time())
request = function()
  return wrk.format("GET", "/v1/users/user-" .. math.random(0, users - 1) .. "/recommendations")
end
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('{{"per_second": %.1f, "p50_ms": %.3f, "p99_ms": %.3f, "p999_ms": %.3f, "errors": %d}}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, bad))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    errors: int


def drive(port: int, script: Path, seconds: int, connections: int = CONNECTIONS) -> Load:
    """Ask as fast as the server answers. Raises AssertionError where an answer was an error."""
    threads = f"-t{min(2, connections)}"
    command = [program("wrk"), threads, f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    found = Load(**json.loads(done.stdout.strip().splitlines()[-1]))
    assert found.errors == 0, done.stdout
    return found


@contextmanager
def raw_server(size: int) -> Iterator[int]:
    """The port of a raw server with answers of so many bytes."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.raw_asyncio", str(port), str(size)])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the raw server does not answer"
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def resident_mib(server: psutil.Process, store: Path) -> float:
    """Resident memory of a server's largest process, without the pages of the store's mapped files."""
    sizes = []
    for process in [server, *server.children(recursive=True)]:
        maps = process.memory_maps(grouped=True)
        sizes.append(sum(each.rss for each in maps if not each.path.startswith(str(store))))
    return max(sizes) / MIB


def publish_night(root: Path, kind: str, users: int, items: int) -> Path:
    """A store with a published night -> its nightloom.toml."""
    config = root / "nightloom.toml"
    config.write_text(settings_text(kind, K), encoding="utf8")
    if not (root / "home" / "lake").exists():
        write_lake(root, users, items, K)
        argv = ["--date", str(D), "--config", str(config)]
        run_stage(stages.SLATE_GATE, pass_gate, argv=argv)
    time_publish(config)
    return config


def measure_store(kind: str, root: Path, arguments: argparse.Namespace, table: Table) -> dict[str, float]:
    """The rows of the table for one store -> its part of the last line, for one worker."""
    script = root / "lists.lua"
    script.write_text(SCRIPT.format(users=arguments.users), encoding="utf8")
    own: dict[str, float] = {}
    with ExitStack() as stack:
        if kind != "lmdb":
            server = stack.enter_context({"redis": redis_server, "postgresql": lambda _: postgresql()}[kind](root))
            os.environ["NIGHTLOOM_PLACES__STORE_URL"] = server.address
            stack.callback(os.environ.pop, "NIGHTLOOM_PLACES__STORE_URL")
        config = publish_night(root, kind, arguments.users, arguments.items)
        for workers in arguments.workers:
            with running_api(config, log=root / "api.log", options=("--workers", str(workers))) as (port, process):
                size = len(httpx.get(f"http://127.0.0.1:{port}/v1/users/user-7/recommendations").content)
                drive(port, script, 2)
                with raw_server(size) as raw_port:
                    raw, api = drive(raw_port, script, arguments.seconds), drive(port, script, arguments.seconds)
                rss = resident_mib(process, root / "home" / "store")
            for name, load in (("raw asyncio", raw), (f"{kind}, {workers} workers", api)):
                times = (load.p50_ms, load.p99_ms, load.p999_ms)
                table.add_row(name, f"{load.per_second:,.0f}", *(f"{each:.2f}" for each in times))
            if workers == 1:
                vs_raw, slower = api.per_second / raw.per_second, api.p99_ms / raw.p99_ms
                own = {"vs_raw": round(vs_raw, 3), "p99_vs_raw": round(slower, 2), "rss_mib": round(rss)}
    return own


def measure_live(root: Path, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Times and lists of users who act, and what that costs others."""
    project = live_project.create(root, arguments.items, arguments.factors, arguments.live_users)
    script = root / "others.lua"
    script.write_text(SCRIPT.format(users=arguments.live_users), encoding="utf8")
    others: dict[str, Load] = {}
    for name, live in (("off", False), ("on", True)):
        project.switch(live)
        with running_api(project.config, log=root / f"live-{name}.log") as (port, _):
            project.wait_until_ready(port, live)
            drive(port, script, 2, 4)
            others[f"live {name}"] = drive(port, script, arguments.seconds, 4)
            if live:
                found = project.act_and_ask(port, arguments.live_requests)
                with project.acting(port):
                    others["while others act"] = drive(port, script, arguments.seconds, 4)
    for name, load in others.items():
        console.print(f"live lists, users who do not act, {name}: {json.dumps(asdict(load))}")
    return {"p99_ms": round(found.p99_ms, 2), "p50_ms": round(found.p50_ms, 2), "equal": found.equal}


def main(arguments: argparse.Namespace) -> None:
    console, found = Console(), dict[str, Any]()
    table = Table("server", "requests/s", "p50 ms", "p99 ms", "p99.9 ms")
    for kind in arguments.stores:
        with tempfile.TemporaryDirectory(prefix=f"bench-{kind}-") as folder:
            found[kind] = measure_store(kind, Path(folder), arguments, table)
    console.print(table)
    console.print(f"{arguments.users:,} users, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="bench-live-") as folder:
        found["live"] = measure_live(Path(folder), arguments, console)
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000, help="users with a list in each store")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stores", nargs="+", default=["lmdb", "redis", "postgresql"])
    parser.add_argument("--live-users", type=int, default=2_000)
    parser.add_argument("--live-requests", type=int, default=1_000)
    main(parser.parse_args())
