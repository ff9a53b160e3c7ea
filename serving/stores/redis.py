"""Redis: a version's rows in hashes of some thousand fields each, so that a version is counted and deleted quickly.

{NAME}:notes is a hash, {NAME}:lock the lock (a token that expires unless it is renewed), NAME:{v000001}:parts the set
of complete parts, NAME:{v000001:17}:users one of the hashes key -> value. Redis Cluster places a key by the text in
braces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from nightloom.errors import StoreError
from serving.stores import base, lease
from serving.stores.base import KINDS, Part, RowSizes
from serving.stores.pushes import FailureReason, PushError, version_name
from serving.stores.server import BUCKETS, READ_SECONDS, bucket_of

BUCKETS_AT_A_TIME = 16
WRITE = """if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) else redis.call('HDEL', KEYS[1], ARGV[2]) end return 1"""
SWAP = """if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) return 1"""
RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class RedisStore(lease.LeaseStore):
    """One Redis server (or a Sentinel's address in front of one)."""

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        super().__init__(place, project, reading)
        self._notes, self._lock = f"{{{project}}}:notes", f"{{{project}}}:lock"

    @cached_property
    def _client(self) -> Any:
        """Connected at the first use: a server of ours starts while Redis is away, too."""
        with self._translate_errors():
            return self._connect()

    def _connect(self) -> Any:
        return redis.Redis.from_url(self.address, **self._patience())

    def _patience(self) -> dict[str, Any]:
        if self.reading:
            once = Retry(NoBackoff(), 0)
            return {"socket_connect_timeout": READ_SECONDS, "socket_timeout": READ_SECONDS, "retry": once}
        return {"socket_connect_timeout": 5, "socket_timeout": 20}

    def _server_info(self, section: str) -> list[dict[str, Any]]:
        """A section of INFO from each server."""
        return [self._client.info(section)]

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.OutOfMemoryError as error:
            raise PushError(FailureReason.QUOTA, f"{self.location}: no memory left ({error})") from None
        except redis.exceptions.RedisError as error:
            raise StoreError(f"{self.location}: {error or type(error).__name__}") from None

    def read_note(self, name: str) -> str | None:
        with self._translate_errors():
            text = self._client.hget(self._notes, name)
        return None if text is None else text.decode()

    def read_notes(self) -> dict[str, str]:
        with self._translate_errors():
            return {name.decode(): text.decode() for name, text in self._client.hgetall(self._notes).items()}

    def write_note(self, name: str, text: str | None) -> None:
        arguments = (self._token, name) if text is None else (self._token, name, text)
        with self._translate_errors():
            if not self._client.eval(WRITE, 2, self._notes, self._lock, *arguments):
                raise self._lock_lost()

    def swap_note(self, name: str, before: str | None, after: str) -> bool:
        with self._translate_errors():
            return bool(self._client.eval(SWAP, 1, self._notes, name, before or "", after))

    def _acquire_lock(self, token: str) -> str | None:
        with self._translate_errors():
            if self._client.set(self._lock, token, nx=True, px=int(lease.LOCK_SECONDS * 1000)):
                return None
            return (self._client.get(self._lock) or b"just begun").decode()

    def _renew_lock(self, token: str) -> bool:
        with self._translate_errors():
            return bool(self._client.eval(RENEW, 1, self._lock, token, int(lease.LOCK_SECONDS * 1000)))

    def _release_lock(self, token: str) -> None:
        with self._translate_errors():
            self._client.eval(RELEASE, 1, self._lock, token)

    def begin_load(self, version: int) -> set[Part]:
        with self._translate_errors():
            servers = self._server_info("memory")
            complete = [text.decode().split("/") for text in self._client.smembers(self._parts(version))]
        for info in servers:
            if info["maxmemory"] and info["maxmemory_policy"].startswith("allkeys"):
                raise StoreError(
                    f"{self.location} drops keys when it is full (maxmemory-policy {info['maxmemory_policy']}): lists "
                    "would go missing; set it to noeviction"
                )
        return {(kind, int(number)) for kind, number in complete}

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        self._require_lock()
        buckets = defaultdict[str, list[bytes]](list)
        for pair in base.key_value_pairs(rows):
            buckets[self._bucket_of(version, part[0], pair[0])] += pair
        with self._translate_errors():
            pipeline = self._client.pipeline(transaction=False)
            for bucket, fields in buckets.items():
                pipeline.execute_command("HSET", bucket, *fields)
            pipeline.execute()
            self._client.sadd(self._parts(version), f"{part[0]}/{part[1]}")

    def finish_load(self, version: int) -> None:
        """Does nothing: Redis' own settings (appendonly, save) decide how durable it is."""

    def open_version(self, version: int) -> RedisVersion:
        return RedisVersion(self, version)

    def delete_rows(self, version: int) -> None:
        if self._token:
            self._require_lock()
        self._run_on_keys("UNLINK", [*self._buckets(version, *KINDS), self._parts(version)])

    def version_bytes(self, version: int) -> int:
        found = self._run_on_keys("MEMORY USAGE", self._buckets(version, *KINDS), "SAMPLES", 0)
        return sum(size for size in found if size is not None)

    def free_bytes(self) -> int | None:
        with self._translate_errors():
            servers = self._server_info("memory")
        return sum(each["maxmemory"] - each["used_memory"] for each in servers) if servers[0]["maxmemory"] else None

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        total = 0.0
        for kind, size in sizes.items():
            buckets = BUCKETS[kind] * (1 - np.exp(-size.rows / BUCKETS[kind]))  # those that are not empty
            slots = 2 ** np.ceil(np.log2(max(size.rows / max(buckets, 1), 4)))
            overhead = jemalloc_bytes(np.array([len(f"nightloom:{{v000001:1023}}:{kind}") + 4]))[0] + 64 + 16 + 64
            entry = jemalloc_bytes(np.array([24]))[0]
            mean = (entry + _string_bytes(size.keys) + _string_bytes(size.values)).mean() if size.rows else 0
            total += size.rows * mean + buckets * (overhead + 8 * slots)
        return int(total)

    def _parts(self, version: int) -> str:
        return f"{self.project}:{{{version_name(version)}}}:parts"

    def _buckets(self, version: int, *kinds: str) -> list[str]:
        start = f"{self.project}:{{{version_name(version)}"
        return [f"{start}:{number}}}:{kind}" for kind in kinds for number in range(BUCKETS[kind])]

    def _bucket_of(self, version: int, kind: str, key: bytes) -> str:
        return f"{self.project}:{{{version_name(version)}:{bucket_of(kind, key)}}}:{kind}"

    def _run_on_keys(self, command: str, names: Sequence[str], *arguments: Any) -> list[Any]:
        """Run one command for each key, in one pipeline."""
        with self._translate_errors():
            pipeline = self._client.pipeline(transaction=False)
            for each in names:
                pipeline.execute_command(command, each, *arguments)
            return list(pipeline.execute())


class RedisVersion:
    """One version; a key is read from the bucket that its hash names."""

    survives_pruning = False

    def __init__(self, store: RedisStore, version: int) -> None:
        self._store, self._version = store, version

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        buckets = [self._store._bucket_of(self._version, kind, each) for each in keys]
        with self._store._translate_errors():
            if len(keys) == 1:
                return [self._store._client.hget(buckets[0], keys[0])]
            pipeline = self._store._client.pipeline(transaction=False)
            for bucket, each in zip(buckets, keys, strict=True):
                pipeline.hget(bucket, each)
            return list(pipeline.execute())

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        names = self._store._buckets(self._version, kind)
        for start in range(0, len(names), BUCKETS_AT_A_TIME):
            found = self._store._run_on_keys("HGETALL", names[start : start + BUCKETS_AT_A_TIME])
            yield from base.to_batches(chain.from_iterable(each.items() for each in found))


def jemalloc_bytes(sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes that jemalloc allocates for a request: steps of 16 up to 128, then four steps to each doubling."""
    steps = 2.0 ** np.maximum(np.ceil(np.log2(np.maximum(sizes, 1))) - 3, 4)
    return np.asarray(np.ceil(sizes / steps) * steps)


def _string_bytes(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes of a Redis string: a header that depends on its length, and a zero at its end."""
    return jemalloc_bytes(lengths + np.select([lengths < 32, lengths < 256], [1, 3], 5) + 1)
