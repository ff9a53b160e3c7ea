"""A store of each kind on its real server, and small versions whose rows name their version."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from benchmarks.cassandra_server import cassandra_server
from benchmarks.servers import MissingProgramError, Server, postgresql, redis_cluster, redis_server
from serving import loader
from serving.loader import LoadSummary
from serving.stores import STORE_KINDS, Store, base, store_class, versions
from serving.stores.base import KINDS
from serving.stores.pushes import PushState
from tests.minio import minio

USERS = [f"u{number:04d}" for number in range(300)]
IDS = {
    "users": USERS, "items": [str(n) for n in range(9)], "popular": ["all"], "similar": ["1", "2"],
    "histories": USERS[:2],
}  # fmt: skip
FOLDERS = ("lmdb", "files")
SERVERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "redis": redis_server,
    "redis-cluster": redis_cluster,
    "postgresql": lambda folder: postgresql(),
    "cassandra": cassandra_server,
}
CASSANDRA = pytest.param("cassandra", marks=[pytest.mark.slow, pytest.mark.xdist_group("cassandra")])
"""Takes 15 s to start, and 1 GB."""
ALL = [CASSANDRA if kind == "cassandra" else kind for kind in STORE_KINDS]
OBJECTS = "objects"
"""A store of kind `files` at an address."""


@contextmanager
def start_server(kind: str, folder: Path) -> Iterator[str]:
    """A server's address. Where the server is not installed, the test is skipped; in CI that is a failure."""
    try:
        with SERVERS[kind](folder) as running:
            yield running.address
    except MissingProgramError as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))


@contextmanager
def start_objects(folder: Path) -> Iterator[str]:
    """The address of a bucket, which this process and its children can reach."""
    with minio(folder) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server.make_bucket("store")


def open_store_at(kind: str, place: str) -> Store:
    """A store of one kind: `place` is a folder, an address, or a server's address, # and a project."""
    address, _, project = place.partition("#")
    return store_class("files" if kind == OBJECTS else kind, address)(address, project)


def sample_rows(version: int, kind: str, ids: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Values in which every list names its version again, so that a mixed list shows."""
    ids = IDS[kind] if ids is None else ids
    body = {"items": f'"title":"t{version}"'}.get(kind, f'"items":["{version}"],"scores":[1.0]')
    values = [
        f'{base.value_header(version, "2026-01-01T00:00:00Z")}"id":{json.dumps(each)},{body}}}'.encode() for each in ids
    ]
    for start in range(0, len(ids), 100):
        yield with_hashes([base.encode_key(each) for each in ids[start : start + 100]], values[start : start + 100])


@cache
def memory_database() -> duckdb.DuckDBPyConnection:
    """Opening one takes longer than a query on it."""
    return duckdb.connect()


def with_hashes(keys: list[bytes], values: list[bytes]) -> pa.RecordBatch:
    """Keys and values with the hashes that StoreRows.batches() adds."""
    given = pa.table({"key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.binary())})
    with memory_database().cursor() as connection:
        connection.register("given", given)
        rows = connection.sql("SELECT *, hash(key, value) AS row_hash, hash(key, value) AS body_hash FROM given")
        return rows.to_arrow_table().combine_chunks().to_batches()[0]


def no_progress(kind: str, done: int) -> None:
    pass


def load_sample(store: Store, version: int, kinds: dict[str, Iterator[pa.RecordBatch]] | None = None) -> LoadSummary:
    kinds = {kind: sample_rows(version, kind) for kind in KINDS} | (kinds or {})
    return loader.load(store, version, kinds, None, no_progress)


def publish_sample(store: Store, scratch: Path, kinds: dict[str, Iterator[pa.RecordBatch]] | None = None) -> int:
    with store.exclusive_lock():
        versions.recover(store)
        push = versions.begin_push(store, "1998-04-21", "run")
        done = load_sample(store, push.version, kinds)
        push = versions.set_state(store, push, PushState.LOADED, checksum=done.checksum, k=1, stored=1)
        loader.verify(store, push.version, done, scratch)
        versions.flip(store, versions.set_state(store, push, PushState.VERIFIED))
        versions.prune(store, 3)
    return push.version
