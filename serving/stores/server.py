"""What stores on a server share: a printable address, buckets, a pointer that is read at most five times a second."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from urllib.parse import urlsplit
from zlib import crc32

from serving.stores.pushes import POINTER

POINTER_SECONDS = 0.2
"""Readers notice a flip within this time."""
READ_SECONDS = 1
"""A reading store gives up a server that is silent for so long. Nobody waits for that: the thread is free again."""
BUCKETS = {"users": 1024, "items": 64, "popular": 1, "similar": 64, "histories": 1024}
"""Number of buckets for the rows of a kind, where a store reads and deletes rows by the bucket: Redis, Cassandra."""


class ServerStore(ABC):
    """The common part of every kind of store on a server.

    A store that is opened for reading alone gives up soon, and tries nothing twice: its readers have another answer.
    """

    remote = True
    load_workers = 2

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        self.address, self.project, self.reading = place, project, reading
        self.location = without_secret(place)
        self._pointer: tuple[float, str | None] = (-POINTER_SECONDS, None)

    @abstractmethod
    def read_note(self, name: str) -> str | None: ...

    def read_pointer(self) -> str | None:
        read_at, text = self._pointer
        if (moment := time.monotonic()) - read_at >= POINTER_SECONDS:
            text = self.read_note(POINTER)
            self._pointer = moment, text
        return text


def without_secret(address: str) -> str:
    """An address that may be printed: without user and password."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or ''}{parts.path}"


def bucket_of(kind: str, key: bytes) -> int:
    """The bucket of a row."""
    return crc32(key) % BUCKETS[kind]
