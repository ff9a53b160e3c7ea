"""Redis: a version's rows in hashes of some thousand fields each, so that it is counted and dropped quickly.

{NAME}:notes is a hash, {NAME}:lock the lock (a token that expires unless it is renewed), NAME:{v000001}:parts the
parts that are whole, NAME:{v000001:17}:users one of the hashes key -> value. What Redis Cluster keeps together is
in braces.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import numpy as np
import pyarrow as pa
import redis

from nightloom.errors import StoreError
from nightloom.lake import now
from serving.stores import base, versions
from serving.stores.base import KINDS, Part, Shape
from serving.stores.versions import PushError, Reason

BUCKETS = {"users": 1024, "items": 64, "popular": 1, "similar": 64}
"""Hashes that the rows of a kind are spread over, by crc32(key) modulo their number."""
BUCKETS_AT_A_TIME = 16
LOCK_SECONDS = 5.0
"""A killed push holds the lock for so long; a live one renews it five times in that."""
POINTER_SECONDS = 0.2
"""A flip is noticed within this time."""
SECONDS = {"socket_connect_timeout": 5, "socket_timeout": 20}
WRITE = """if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) else redis.call('HDEL', KEYS[1], ARGV[2]) end return 1"""
RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class Redis:
    """One Redis server (or a Sentinel's address in front of one)."""

    remote, workers = True, 2

    def __init__(self, name: str, address: str) -> None:
        self.where = without_secret(address)
        self._name, self._token, self._lost = name, "", threading.Event()
        self._notes, self._lock = f"{{{name}}}:notes", f"{{{name}}}:lock"
        self._pointer: tuple[float, str | None] = (-POINTER_SECONDS, None)
        with self._reached():
            self._client = self._connected(address)

    def _connected(self, address: str) -> Any:
        return redis.Redis.from_url(address, **SECONDS)

    def _infos(self, section: str) -> list[dict[str, Any]]:
        """What each server says of itself."""
        return [self._client.info(section)]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.OutOfMemoryError as error:
            raise PushError(Reason.QUOTA, f"{self.where}: no memory left ({error})") from None
        except redis.exceptions.RedisError as error:
            raise StoreError(f"{self.where}: {error or type(error).__name__}") from None

    def note(self, name: str) -> str | None:
        with self._reached():
            text = self._client.hget(self._notes, name)
        return None if text is None else text.decode()

    def notes(self) -> dict[str, str]:
        with self._reached():
            return {name.decode(): text.decode() for name, text in self._client.hgetall(self._notes).items()}

    def write(self, name: str, text: str | None) -> None:
        arguments = (self._token, name) if text is None else (self._token, name, text)
        with self._reached():
            if not self._client.eval(WRITE, 2, self._notes, self._lock, *arguments):
                raise StoreError(f"{self.where}: the lock of this push was lost; nothing more was written")

    def pointer(self) -> str | None:
        asked, text = self._pointer
        if (moment := time.monotonic()) - asked >= POINTER_SECONDS:
            text = self.note(versions.POINTER)
            self._pointer = moment, text
        return text

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        mine = f"{socket.gethostname()} process {os.getpid()} since {now():%H:%M:%S} UTC, {secrets.token_hex(8)}"
        with self._reached():
            if not self._client.set(self._lock, mine, nx=True, px=int(LOCK_SECONDS * 1000)):
                other = (self._client.get(self._lock) or b"just begun").decode().rsplit(",", 1)[0]
                raise PushError(
                    Reason.CONCURRENT_PUSH, f"{self.where}: another push is under way ({other}); wait for it to end"
                )
        self._token, ended = mine, threading.Event()
        self._lost.clear()
        renewing = threading.Thread(target=self._renew, args=(mine, ended), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            self._token = ""
            with self._reached():
                self._client.eval(RELEASE, 1, self._lock, mine)

    def _renew(self, mine: str, ended: threading.Event) -> None:
        while not ended.wait(LOCK_SECONDS / 5):
            try:
                if not self._client.eval(RENEW, 1, self._lock, mine, int(LOCK_SECONDS * 1000)):
                    self._lost.set()
            except redis.exceptions.RedisError:
                continue  # the next turn finds the lock there or lost

    def begin(self, version: int) -> set[Part]:
        for said in self._infos("memory"):
            if said["maxmemory"] and said["maxmemory_policy"].startswith("allkeys"):
                raise StoreError(
                    f"{self.where} drops keys when it is full (maxmemory-policy {said['maxmemory_policy']}): lists "
                    "would go missing; set it to noeviction"
                )
        with self._reached():
            done = [text.decode().split("/") for text in self._client.smembers(self._parts(version))]
        return {(kind, int(number)) for kind, number in done}

    def put(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        if self._lost.is_set():
            raise StoreError(f"{self.where}: the lock of this push was lost; nothing more was written")
        buckets = defaultdict[str, list[bytes]](list)
        for pair in base.pairs(rows):
            buckets[self._bucket_of(version, part[0], pair[0])] += pair
        with self._reached():
            pipeline = self._client.pipeline(transaction=False)
            for bucket, fields in buckets.items():
                pipeline.execute_command("HSET", bucket, *fields)
            pipeline.execute()
            self._client.sadd(self._parts(version), f"{part[0]}/{part[1]}")

    def finish(self, version: int) -> None:
        """Nothing: how durable Redis is, is said by its own settings (appendonly, save)."""

    def open(self, version: int) -> Hashes:
        return Hashes(self, version)

    def clear(self, version: int) -> None:
        self._each("UNLINK", [*self._buckets(version, *KINDS), self._parts(version)])

    def size(self, version: int) -> int:
        found = self._each("MEMORY USAGE", self._buckets(version, *KINDS), "SAMPLES", 0)
        return sum(size for size in found if size is not None)

    def free(self) -> int | None:
        with self._reached():
            said = self._infos("memory")
        return sum(each["maxmemory"] - each["used_memory"] for each in said) if said[0]["maxmemory"] else None

    @staticmethod
    def predicted(shapes: Mapping[str, Shape]) -> int:
        total = 0.0
        for kind, shape in shapes.items():
            buckets = BUCKETS[kind] * (1 - np.exp(-shape.rows / BUCKETS[kind]))  # that hold anything at all
            slots = 2 ** np.ceil(np.log2(max(shape.rows / max(buckets, 1), 4)))
            own = allocated(np.array([len(f"nightloom:{{v000001:1023}}:{kind}") + 4]))[0] + 64 + 16 + 64
            entry = allocated(np.array([24]))[0]
            mean = (entry + _text(shape.keys) + _text(shape.values)).mean() if shape.rows else 0
            total += shape.rows * mean + buckets * (own + 8 * slots)
        return int(total)

    def _parts(self, version: int) -> str:
        return f"{self._name}:{{{versions.name(version)}}}:parts"

    def _buckets(self, version: int, *kinds: str) -> list[str]:
        start = f"{self._name}:{{{versions.name(version)}"
        return [f"{start}:{number}}}:{kind}" for kind in kinds for number in range(BUCKETS[kind])]

    def _bucket_of(self, version: int, kind: str, key: bytes) -> str:
        return f"{self._name}:{{{versions.name(version)}:{crc32(key) % BUCKETS[kind]}}}:{kind}"

    def _each(self, command: str, names: Sequence[str], *arguments: Any) -> list[Any]:
        """One command for each of many keys."""
        with self._reached():
            pipeline = self._client.pipeline(transaction=False)
            for each in names:
                pipeline.execute_command(command, each, *arguments)
            return list(pipeline.execute())


class Hashes:
    """One version, read by key from the bucket that it falls into."""

    lasting = False

    def __init__(self, store: Redis, version: int) -> None:
        self._store, self._version = store, version

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        buckets = [self._store._bucket_of(self._version, kind, each) for each in keys]
        with self._store._reached():
            if len(keys) == 1:
                return [self._store._client.hget(buckets[0], keys[0])]
            pipeline = self._store._client.pipeline(transaction=False)
            for bucket, each in zip(buckets, keys, strict=True):
                pipeline.hget(bucket, each)
            return list(pipeline.execute())

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        names = self._store._buckets(self._version, kind)
        for start in range(0, len(names), BUCKETS_AT_A_TIME):
            found = self._store._each("HGETALL", names[start : start + BUCKETS_AT_A_TIME])
            yield from base.records(chain.from_iterable(each.items() for each in found))


def without_secret(address: str) -> str:
    """An address as it may be printed."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or ''}{parts.path}"


def allocated(sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes that jemalloc gives for a request: steps of 16 up to 128, then four steps to each doubling."""
    steps = 2.0 ** np.maximum(np.ceil(np.log2(np.maximum(sizes, 1))) - 3, 4)
    return np.asarray(np.ceil(sizes / steps) * steps)


def _text(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes of a string of Redis: a head by its length, a zero at its end."""
    return allocated(lengths + np.select([lengths < 32, lengths < 256], [1, 3], 5) + 1)
