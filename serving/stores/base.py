"""What every kind of store can do (`Store`, `Rows`), and what they share: kinds of rows, keys, the head of a value.

Key -> value: `=ID` (a digest where the id is too long for LMDB) -> {"version":"v000001","generated_at":"...", ...}. The
head of a value has a fixed width, so that the content of a list can be told from its stamp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from nightloom.errors import StoreError
from serving.stores.versions import name

KINDS = ("users", "items", "popular", "similar")
"""Kinds of rows; a version that was published before a kind came has none of it."""
EVERYBODY = "all"
"""Segment of the popular list for whoever has no list of their own."""
LONGEST_KEY = 500
"""Bytes of an id that stand in the key as they are; LMDB's own limit is 511."""
SCHEMA = pa.schema([("key", pa.binary()), ("value", pa.binary())])
Part = tuple[str, int]
"""Kind and number of a part: so many rows that are loaded in one go."""


def key(text: str) -> bytes:
    """Key of an id; the SQL twin is lists.key_sql."""
    raw = text.encode("utf8", "replace")
    return b"=" + raw if len(raw) <= LONGEST_KEY else b"#" + hashlib.sha256(raw).hexdigest().encode()


def head(version: int, generated_at: str) -> str:
    """First bytes of each value; generated_at is ISO, UTC, whole seconds."""
    return f'{{"version":"{name(version)}","generated_at":"{generated_at}",'


class GoneError(StoreError):
    """A version was pruned while it was read: whoever asks again gets the one that is served now."""


@dataclass(frozen=True)
class Shape:
    """How large the rows of a kind are: their number, and key and value bytes of a sample of them."""

    rows: int
    keys: np.ndarray[Any, np.dtype[np.int64]]
    values: np.ndarray[Any, np.dtype[np.int64]]


class Rows(Protocol):
    """One version, to read; safe for threads."""

    lasting: bool
    """Whether it can be read as long as it is held, pruned or not."""

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values by key, None where there is none."""

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        """Every key and value of a kind (SCHEMA), in any order."""


class Store(Protocol):
    """Where versions are. Notes (small texts by name: the pointer, the records) are stores/versions.py's alone.

    What cannot be reached raises StoreError; what has no room PushError with the reason `quota`.
    """

    where: str
    """Its place in words, without a secret."""
    remote: bool
    """Whether a read waits for a network."""
    workers: int
    """How many parts can be loaded at a time."""

    def note(self, name: str) -> str | None: ...

    def notes(self) -> dict[str, str]: ...

    def write(self, name: str, text: str | None) -> None:
        """Put one note in the place of the one there, all of it or nothing, durable; None takes it away."""

    def pointer(self) -> str | None:
        """The note POINTER as a reader asks for it, at each request: at most a moment old."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Be the only one who writes. Raises PushError with the reason `concurrent_push` when another is."""

    def begin(self, version: int) -> set[Part]:
        """Make a place for a version -> the parts that a killed load left there whole."""

    def put(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        """Store a part (SCHEMA, keys rising); the same part again changes nothing. Called from `workers` threads."""

    def finish(self, version: int) -> None:
        """After the last part: durable, and ready to be read."""

    def open(self, version: int) -> Rows: ...

    def clear(self, version: int) -> None:
        """Take a version's rows away, also half of them, also none."""

    def size(self, version: int) -> int:
        """Bytes that a finished version takes."""

    def free(self) -> int | None:
        """Bytes that there is room for; None where the store cannot know."""

    @staticmethod
    def predicted(shapes: Mapping[str, Shape]) -> int:
        """Bytes that rows of such shapes will take."""


def pages(sizes: np.ndarray[Any, np.dtype[np.int64]], room: int) -> float:
    """Mean share of a page that an entry takes when pages with `room` bytes are filled one after the other."""
    filled, left = 1, room
    for size in sizes.tolist():
        if size > left:
            filled, left = filled + 1, room
        left -= size
    return (filled - left / room) / max(len(sizes), 1)


def records(rows: Iterator[tuple[bytes, bytes]], at_a_time: int = 4096) -> Iterator[pa.RecordBatch]:
    """Keys and values -> batches of SCHEMA."""
    keys: list[bytes] = []
    values: list[bytes] = []
    for each, value in rows:
        keys.append(each)
        values.append(value)
        if len(keys) == at_a_time:
            yield pa.record_batch([pa.array(keys, pa.binary()), pa.array(values, pa.binary())], schema=SCHEMA)
            keys, values = [], []
    if keys:
        yield pa.record_batch([pa.array(keys, pa.binary()), pa.array(values, pa.binary())], schema=SCHEMA)


def pairs(rows: pa.RecordBatch) -> list[tuple[bytes, bytes]]:
    """A batch of SCHEMA -> keys and values."""
    return list(zip(*(rows[name].to_numpy(zero_copy_only=False) for name in SCHEMA.names), strict=True))
