"""Publishing a night's lists to LMDB, Redis and PostgreSQL, compared with each store's own bulk loader.

`publish` is the stage as the night runs it, from Delta tables to the pointer flip, with the interpreter's start. `load`
is our loader on prepared rows in memory. The store's own loader gets the same rows in its own format: LMDB's append
loop with one transaction per batch, or mdb_load, whichever is faster; redis-cli --pipe; COPY by psql, then the index.
Last line: JSON with rows_s of the stage, vs_loader = load / loader, and size = predicted / used bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb
import numpy as np
import psycopg
import pyarrow as pa
import redis
from deltalake import write_deltalake
from rich.console import Console
from rich.table import Table

from benchmarks.likes import SOURCE
from benchmarks.servers import Server, postgresql, program, redis_server
from nightloom import settings as settings_module
from nightloom.contracts import ITEMS, POPULAR, RECOMMENDATIONS
from nightloom.lake import Lake, arrow_schema
from nightloom.lake.recommendations import night_columns
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from nightloom.night.run import run_stage
from serving import loader
from serving.store_rows import StoreRows
from serving.stores import Store, base, open_store, versions
from serving.stores.postgresql import encode_copy
from serving.stores.server import BUCKETS

D = date(2026, 3, 1)
FILE_ROWS = 50_000
"""Rows per file of the lake."""
Batches = list[pa.RecordBatch]


def settings_text(kind: str, stored: int) -> str:
    """A nightloom.toml."""
    return f"""{SOURCE}
[[models]]
name = "popularity"
[project]
name = "bench"
[places]
home = "home"
[slate]
k = 20
stored = {stored}
[store]
kind = "{kind}"
"""


def write_lake(root: Path, users: int, items: int, k: int) -> None:
    """Write a night's lists, items and popular list, as scoring does."""
    lake, rng, generated_at = Lake(root / "home" / "lake"), np.random.default_rng(0), datetime(2026, 3, 1, tzinfo=UTC)
    names = [str(number) for number in range(items)]
    shared = {"attributes": [], "available": True, "updated_at": generated_at, "night": D}
    shared["categories"] = ["Drama", "Comedy"]
    titles = {item: f"Item {item}, which everybody likes" for item in names}
    lake.append(ITEMS, [{"item_id": item, "title": titles[item], "row_id": item} | shared for item in names])
    lake.append(POPULAR, [{"night": D, "segment": "all", "items": names[:k], "scores": [1.0] * k}])
    lake.create(RECOMMENDATIONS)
    for first in range(0, users, FILE_ROWS):
        n = min(FILE_ROWS, users - first)
        ids = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, items, n * k, np.int32)), pa.array(names))
        offsets = pa.array(np.arange(0, n * k + 1, k, dtype=np.int32))
        scores = -np.sort(-rng.gamma(2.0, 1.0, (n, k)).astype(np.float32), axis=1)
        columns = {
            "user_id": pa.array(np.char.add("user-", np.arange(first, first + n).astype(str))),
            "items": pa.ListArray.from_arrays(offsets, ids.cast(pa.string())),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(scores.ravel())),
            "model_version": pa.repeat("7", n),
            "generated_at": pa.repeat(pa.scalar(generated_at, pa.timestamp("us", "UTC")), n),
        }
        columns |= {name: pa.repeat(pa.scalar(value), n) for name, value in night_columns(D).items()}
        rows = pa.table(columns, schema=arrow_schema(RECOMMENDATIONS))
        write_deltalake(lake.path(RECOMMENDATIONS), rows, mode="append")


def pass_gate(night: Night) -> None:
    """Record a passed gate 3, without its checks: this benchmark does not measure them."""
    for table in (RECOMMENDATIONS, POPULAR, ITEMS):
        night.pin(table)
    record_and_enforce(night, stages.SLATE_GATE, [Check("planted", True, "planted", "planted")])


def time_publish(config: Path) -> float:
    """Seconds of the stage, started as the night starts it."""
    command = [sys.executable, "-m", stages.PUBLISH.name, "--date", str(D), "--config", str(config)]
    return seconds(lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))


def time_load(store: Store, batches: Batches) -> float:
    """Seconds of our loader on prepared rows."""
    with store.exclusive_lock():
        duration = seconds(lambda: loader.load(store, 999_999, {"users": iter(batches)}, None, lambda kind, rows: None))
        store.delete_rows(999_999)
    return duration


def lmdb_append(server: Server, folder: Path, batches: Batches) -> float:
    """The shortest possible append loop."""
    ready = [base.key_value_pairs(batch) for batch in batches]

    def loop() -> None:
        with lmdb.open(str(folder / "append"), map_size=1 << 36, sync=False, lock=False) as env:
            for pairs in ready:
                with env.begin(write=True) as txn:
                    txn.cursor().putmulti(pairs, append=True)
            env.sync(True)

    return seconds(loop)


def mdb_load(server: Server, folder: Path, batches: Batches) -> float:
    """LMDB's own program on a dump."""
    file = folder / "users.dump"
    with file.open("wb") as dump:
        dump.write(b"VERSION=3\nformat=print\ntype=btree\nmapsize=%d\nHEADER=END\n" % (1 << 36))
        for batch in batches:
            dump.writelines(
                b" %b\n %b\n" % (key, value.replace(b"\\", b"\\\\")) for key, value in base.key_value_pairs(batch)
            )
        dump.write(b"DATA=END\n")
    (folder / "dumped").mkdir()
    command = [program("mdb_load"), "-f", str(file), str(folder / "dumped")]
    return seconds(lambda: subprocess.run(command, check=True))


def redis_pipe(server: Server, folder: Path, batches: Batches) -> float:
    """redis-cli --pipe on prepared commands, which write the same hashes as our loader."""
    file, port = folder / "users.redis", server.address.rsplit(":", 1)[1]
    with file.open("wb") as commands:
        for batch in batches:
            buckets = defaultdict[int, list[bytes]](list)
            for pair in base.key_value_pairs(batch):
                buckets[crc32(pair[0]) % BUCKETS["users"]] += pair
            for number, fields in buckets.items():
                parts = [b"HSET", b"loader:%d" % number, *fields]
                commands.write(b"*%d\r\n" % len(parts))
                commands.writelines(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    command = [program("redis-cli"), "-p", port, "--pipe"]
    with file.open("rb") as ready:
        duration = seconds(lambda: subprocess.run(command, check=True, stdin=ready, capture_output=True))
    with redis.Redis.from_url(server.address) as client:
        client.flushall()
    return duration


def psql_copy(server: Server, folder: Path, batches: Batches) -> float:
    """COPY of a prepared binary file into a table like ours, then the index."""
    file = folder / "users.copy"
    with file.open("wb") as ready:
        for number, batch in enumerate(batches):
            part = encode_copy(base.key_value_pairs(batch))
            ready.write(part[19 if number else 0 : -2])
        ready.write(b"\xff\xff")
    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE loader (key bytea NOT NULL, value bytea NOT NULL) WITH (toast_tuple_target = 8160); "
            "ALTER TABLE loader ALTER value SET STORAGE EXTERNAL"
        )
    copy, index = f"\\copy loader FROM '{file}' (FORMAT binary)", "CREATE UNIQUE INDEX ON loader (key)"
    command = [program("psql"), "--quiet", "--dbname", server.address, "-c", copy, "-c", index]
    return seconds(lambda: subprocess.run(command, check=True))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


LOADERS = {"lmdb": (lmdb_append, mdb_load), "redis": (redis_pipe,), "postgresql": (psql_copy,)}


def measure(kind: str, root: Path, server: Server, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one kind of store: the stage, then the loaders on the same rows."""
    config = root / "nightloom.toml"
    config.write_text(settings_text(kind, arguments.k), encoding="utf8")
    settings = settings_module.load(config)
    stage = time_publish(config)
    store = open_store(settings)
    push = versions.list_pushes(store)[-1]
    with store.exclusive_lock():
        store.delete_rows(push.version)
    lake = Lake(settings.place("lake"))
    rows = StoreRows(lake, D, push.facts["source"]["inputs"], root)
    batches = list(rows.batches("users", 999_999, push.facts["moment"]))
    durations = {"publish": stage, "load": time_load(store, batches)}
    for own_loader in LOADERS[kind]:
        folder = Path(tempfile.mkdtemp(dir=root))
        durations[own_loader.__name__] = own_loader(server, folder, batches)
        shutil.rmtree(folder)
    fastest = min(durations[own_loader.__name__] for own_loader in LOADERS[kind])
    return durations | {
        "rows_s": round(arguments.users / stage), "vs_loader": round(durations["load"] / fastest, 3),
        "gb": push.facts["bytes"] / 1e9, "size": round(push.facts["predicted_bytes"] / push.facts["bytes"], 3),
    }  # fmt: skip


@contextmanager
def running_server(kind: str, root: Path) -> Iterator[Server]:
    """Start a server and set the environment variable of its address; LMDB needs none."""
    servers = {"redis": lambda: redis_server(root / "redis"), "postgresql": postgresql}
    if kind not in servers:
        yield Server("", [])
        return
    with servers[kind]() as server:
        os.environ["NIGHTLOOM_PLACES__STORE_URL"] = server.address
        yield server
        del os.environ["NIGHTLOOM_PLACES__STORE_URL"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("users", 1_000_000), ("items", 50_000), ("k", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--stores", default=",".join(LOADERS))
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="nightloom-bench-") as folder:
        root = Path(folder)
        (root / "nightloom.toml").write_text(settings_text("lmdb", arguments.k), encoding="utf8")
        write_lake(root, arguments.users, arguments.items, arguments.k)
        run_stage(stages.SLATE_GATE, pass_gate, argv=["--date", str(D), "--config", str(root / "nightloom.toml")])
        for kind in arguments.stores.split(","):
            with running_server(kind, root) as server:
                results[kind] = measure(kind, root, server, arguments)
    table = Table("store", "", "seconds", title=f"{arguments.users:,} users x {arguments.k} items")
    for kind, each in results.items():
        for name in ("publish", "load", *(own_loader.__name__ for own_loader in LOADERS[kind])):
            table.add_row(kind, name, f"{each[name]:.1f}")
        table.add_row(kind, f"{each['gb']:.2f} GB, predicted {each['size']:.1%} of it", "")
    Console().print(table)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, lmdb {lmdb.__version__}")
    print(
        json.dumps(
            {kind: {name: each[name] for name in ("rows_s", "vs_loader", "size")} for kind, each in results.items()}
        )
    )


if __name__ == "__main__":
    main()
