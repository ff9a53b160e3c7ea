"""The interface of every kind of store (`Store`, `StoredVersion`) and what they share: kinds of rows, keys, headers.

Key -> value: `=ID` (a digest where the id is too long for LMDB) -> {"version":"v000001","generated_at":"...", ...}. The
header of a value has a fixed width, so the content of a list can be told apart from its version stamp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from nightloom.errors import NightloomError, StoreError
from serving.stores.pushes import version_name

KINDS = ("users", "items", "popular", "similar", "histories")
"""Kinds of rows. A version that was published before a kind existed has no rows of that kind; histories are there with
serving.live alone."""
PERSONAL = ("users", "histories")
"""Kinds with a row a user."""
EVERYBODY = "all"
"""Segment of the popular list for users without a list of their own."""
MAX_KEY_BYTES = 500
"""Longer ids are replaced by a digest; LMDB's own limit is 511."""
SCHEMA = pa.schema([("key", pa.binary()), ("value", pa.binary())])
Part = tuple[str, int]
"""Kind and number of a part: a batch of rows that is loaded in one step."""


def encode_key(text: str) -> bytes:
    """The key of an id. lists.key_sql does the same in SQL."""
    raw = text.encode("utf8", "replace")
    return b"=" + raw if len(raw) <= MAX_KEY_BYTES else b"#" + hashlib.sha256(raw).hexdigest().encode()


def value_header(version: int, generated_at: str) -> str:
    """The first bytes of each value. `generated_at` is ISO 8601, UTC, in whole seconds."""
    return f'{{"version":"{version_name(version)}","generated_at":"{generated_at}",'


def version_stamp(version: int) -> str:
    """What every value of a version begins with."""
    return value_header(version, "|").split("|")[0]


class VersionPrunedError(StoreError):
    """A version was pruned while it was read. A second request gets the version that is served now."""


class DamagedError(StoreError):
    """A version's rows are missing, or not as they were published."""


class NothingPublishedError(StoreError):
    """The store can be read, and no version is current."""


class PageExpiredError(NightloomError):
    """A page of a list asks for a version that is not kept any more, or belongs to another list."""


@dataclass(frozen=True)
class RowSizes:
    """How many rows a kind has, and the bytes of the keys and values of a sample of them."""

    rows: int
    keys: np.ndarray[Any, np.dtype[np.int64]]
    values: np.ndarray[Any, np.dtype[np.int64]]


class StoredVersion(Protocol):
    """One version, opened for reading; safe for threads."""

    survives_pruning: bool
    """Whether an open version stays readable after it was pruned."""

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values by key, None for an unknown key."""

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        """Every key and value of a kind (SCHEMA), in any order."""


class Store(Protocol):
    """A place for versions. Only stores/versions.py knows what the notes (small texts by name) mean.

    A store that cannot be reached raises StoreError. A store without room raises PushError with the reason `quota`.
    """

    location: str
    """Folder or address for messages, without a secret."""
    remote: bool
    """Whether a read waits for a network."""
    load_workers: int
    """How many parts can be loaded at a time."""

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        """`place` is a folder or the address of a server, on which each project has a store of its own.

        A store that is opened for reading alone gives up a silent server soon.
        """

    def read_note(self, name: str) -> str | None: ...

    def read_notes(self) -> dict[str, str]: ...

    def write_note(self, name: str, text: str | None) -> None:
        """Replace a note, atomically and durably; None deletes it."""

    def swap_note(self, name: str, before: str | None, after: str) -> bool:
        """Replace a note if it has the text `before`, atomically, without the lock -> whether it had."""

    def read_pointer(self) -> str | None:
        """The note POINTER for a reader, which asks at each request; a server's may be a moment old."""

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """Be the only writer. Raises PushError with the reason `concurrent_push` while there is another."""

    def begin_load(self, version: int) -> set[Part]:
        """Make a place for a version -> the complete parts that a killed load left there."""

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        """Store a part (SCHEMA, ascending keys). Called from `load_workers` threads.

        A part that is stored already changes nothing, except in LMDB, which starts a load again.
        """

    def finish_load(self, version: int) -> None:
        """Make the loaded parts durable and readable."""

    def open_version(self, version: int) -> StoredVersion:
        """Raises DamagedError where files are missing, or differ from those that were published."""

    def delete_rows(self, version: int) -> None:
        """Delete a version's rows, however many of them there are."""

    def version_bytes(self, version: int) -> int:
        """Bytes that a finished version takes."""

    def free_bytes(self) -> int | None:
        """Bytes of free space; None where the store cannot know."""

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        """Bytes that a version with rows of such sizes will take."""


def mean_page_share(sizes: np.ndarray[Any, np.dtype[np.int64]], room: int) -> float:
    """The mean share of a page that an entry takes when pages of `room` bytes are filled one after the other."""
    filled, left = 1, room
    for size in sizes.tolist():
        if size > left:
            filled, left = filled + 1, room
        left -= size
    return (filled - left / room) / max(len(sizes), 1)


def to_batches(rows: Iterator[tuple[bytes, bytes]], batch_size: int = 4096) -> Iterator[pa.RecordBatch]:
    """Keys and values -> batches of SCHEMA."""
    keys: list[bytes] = []
    values: list[bytes] = []
    for key, value in rows:
        keys.append(key)
        values.append(value)
        if len(keys) == batch_size:
            yield pa.record_batch([_binary_array(keys), _binary_array(values)], schema=SCHEMA)
            keys, values = [], []
    if keys:
        yield pa.record_batch([_binary_array(keys), _binary_array(values)], schema=SCHEMA)


def _binary_array(values: list[bytes]) -> pa.Array:
    """pa.array() would import pandas: 35 MiB in each worker of a server."""
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))])


def key_value_pairs(rows: pa.RecordBatch) -> list[tuple[bytes, bytes]]:
    """A batch of SCHEMA -> keys and values."""
    return list(zip(*(rows[name].to_numpy(zero_copy_only=False) for name in SCHEMA.names), strict=True))
