"""PostgreSQL: a table per version and kind in a schema of the project's name, filled by COPY, dropped whole.

Readers need USAGE on the schema and SELECT on its tables (ALTER DEFAULT PRIVILEGES, for there are new ones each night).
The lock is a session's advisory lock, and only that session writes notes: with the connection both end.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from struct import pack
from typing import Any
from weakref import finalize
from zlib import crc32

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from nightloom.errors import StoreError
from serving.stores import base, versions
from serving.stores.base import KINDS, Part, Shape
from serving.stores.redis import without_secret
from serving.stores.versions import PushError, Reason

POINTER_SECONDS = 0.2
"""A flip is noticed within this time."""
PAGE, PAGE_HEAD, SPECIAL = 8192, 24, 16
INLINE = 8160
"""Bytes up to which a row stays in its page, in one piece: toast_tuple_target's greatest value."""
CHUNK, CHUNKS_A_PAGE = 1996, 4
FORKS = 5 * PAGE
"""Free-space and visibility maps of a table with more than some pages, and its index's first page."""
TABLES = """CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.notes (name text PRIMARY KEY, text text NOT NULL);
CREATE TABLE IF NOT EXISTS {schema}.parts (version int, kind text, part int, PRIMARY KEY (version, kind, part))"""
ROWS = """CREATE TABLE IF NOT EXISTS {rows} (key bytea NOT NULL, value bytea NOT NULL) WITH (toast_tuple_target = 8160,
autovacuum_enabled = off); ALTER TABLE {rows} ALTER value SET STORAGE EXTERNAL"""
"""Not compressed: a list is read as it lies there, and its size can be told before."""


class PostgreSQL:
    """A schema of one database."""

    remote, workers = True, 2

    def __init__(self, name: str, address: str) -> None:
        self.where, self._address = without_secret(address), address
        self._schema, self._number = sql.Identifier(name), crc32(name.encode())
        self._holder: psycopg.Connection[Any] | None = None
        self._pointer: tuple[float, str | None] = (-POINTER_SECONDS, None)
        self._idle: SimpleQueue[psycopg.Connection[Any]] = SimpleQueue()
        finalize(self, _close, self._idle)

    def _connect(self) -> psycopg.Connection[Any]:
        who = f"nightloom {socket.gethostname()} process {os.getpid()}"
        return psycopg.connect(self._address, autocommit=True, connect_timeout=5, application_name=who)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own for each that asks at a time; kept open for the next."""
        with self._reached():
            try:
                connection = self._idle.get_nowait()
            except Empty:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.put(connection)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise PushError(Reason.QUOTA, f"{self.where}: the disk is full ({error})") from None
        except psycopg.Error as error:
            raise StoreError(f"{self.where}: {error}") from None

    def _sql(self, text: str, **names: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(schema=self._schema, **names)

    def _table(self, version: int, kind: str) -> sql.Composed:
        return sql.SQL("{}.{}").format(self._schema, sql.Identifier(f"{versions.name(version)}_{kind}"))

    def _fetched(self, text: str, *values: Any, **names: sql.Composable) -> list[tuple[Any, ...]]:
        """Rows of a query; none while its table is not there."""
        with self._connection() as connection:
            try:
                return connection.execute(self._sql(text, **names), values, binary=True).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def note(self, name: str) -> str | None:
        found = self._fetched("SELECT text FROM {schema}.notes WHERE name = %s", name)
        return found[0][0] if found else None

    def notes(self) -> dict[str, str]:
        return dict(self._fetched("SELECT name, text FROM {schema}.notes"))

    def write(self, name: str, text: str | None) -> None:
        if self._holder is None:
            raise StoreError(f"{self.where}: only a push that holds the lock writes")
        with self._reached():
            if text is None:
                self._holder.execute(self._sql("DELETE FROM {schema}.notes WHERE name = %s"), (name,))
            else:
                put = "INSERT INTO {schema}.notes VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET text = excluded.text"
                self._holder.execute(self._sql(put), (name, text))

    def pointer(self) -> str | None:
        asked, text = self._pointer
        if (moment := time.monotonic()) - asked >= POINTER_SECONDS:
            text = self.note(versions.POINTER)
            self._pointer = moment, text
        return text

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._reached():
            holder = self._connect()
        try:
            with self._reached():
                if not _one(holder, "SELECT pg_try_advisory_lock(%s)", self._number):
                    other = """SELECT max(application_name) FROM pg_locks JOIN pg_stat_activity USING (pid)
                        WHERE locktype = 'advisory' AND objid = %s::bigint::oid AND granted"""
                    raise PushError(
                        Reason.CONCURRENT_PUSH,
                        f"{self.where}: another push is under way ({_one(holder, other, self._number)}); "
                        "wait for it to end",
                    )
                holder.execute(self._sql(TABLES))
            self._holder = holder
            yield
        finally:
            self._holder = None
            with suppress(psycopg.Error):  # the session is gone, and its lock with it
                holder.execute("SELECT pg_advisory_unlock_all()")  # a session that closes frees it a moment later
            holder.close()

    def begin(self, version: int) -> set[Part]:
        with self._connection() as connection:
            for kind in KINDS:
                connection.execute(self._sql(ROWS, rows=self._table(version, kind)))
        return set(self._fetched("SELECT kind, part FROM {schema}.parts WHERE version = %s", version))

    def put(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        table = self._table(version, part[0])
        with self._connection() as connection, connection.transaction():
            mark = self._sql("INSERT INTO {schema}.parts VALUES (%s, %s, %s) ON CONFLICT DO NOTHING")
            if connection.execute(mark, (version, *part)).rowcount:
                with connection.cursor().copy(self._sql("COPY {rows} FROM STDIN (FORMAT binary)", rows=table)) as copy:
                    copy.write(copied(base.pairs(rows)))

    def finish(self, version: int) -> None:
        """An index over what is there: quicker than one that grows."""
        for kind in KINDS:
            table, index = self._table(version, kind), sql.Identifier(f"{versions.name(version)}_{kind}_key")
            with self._connection() as connection:
                try:
                    make = "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {rows} (key)"
                    connection.execute(self._sql(make, rows=table, index=index))
                except psycopg.errors.UniqueViolation as error:
                    raise PushError(
                        Reason.COUNT_MISMATCH, f"{versions.name(version)} of {self.where}: {kind}: {error}"
                    ) from None
                connection.execute(self._sql("ANALYZE {rows}", rows=table))

    def open(self, version: int) -> Tables:
        return Tables(self, version)

    def clear(self, version: int) -> None:
        with self._connection() as connection:
            for kind in KINDS:
                connection.execute(self._sql("DROP TABLE IF EXISTS {rows}", rows=self._table(version, kind)))
            connection.execute(self._sql("DELETE FROM {schema}.parts WHERE version = %s"), (version,))

    def size(self, version: int) -> int:
        names = [self._table(version, kind) for kind in KINDS]
        with self._connection() as connection:
            names_ = [name.as_string(connection) for name in names]
            return sum(
                _one(connection, "SELECT coalesce(pg_total_relation_size(to_regclass(%s)), 0)", name) for name in names_
            )

    def free(self) -> int | None:
        return None

    @staticmethod
    def predicted(shapes: Mapping[str, Shape]) -> int:
        total = 0.0
        for shape in shapes.values():
            if not shape.rows:
                continue
            keys, values = shape.keys + np.where(shape.keys < 127, 1, 4), shape.values + 4
            row = 24 + keys + values
            apart = row > INLINE
            row = _aligned(np.where(apart, 24 + keys + 18, row)) + 4
            heap = base.pages(row, PAGE - PAGE_HEAD)
            toast = np.where(apart, np.ceil(shape.values / CHUNK) * (1 / CHUNKS_A_PAGE + 0.004), 0).mean()
            entry = _aligned(8 + keys) + 4
            index = entry.mean() / ((PAGE - PAGE_HEAD - SPECIAL) * 0.9) * 1.005
            total += shape.rows * (heap + toast + index) * PAGE + FORKS
        return int(total)


class Tables:
    """One version, read by key."""

    lasting = False

    def __init__(self, store: PostgreSQL, version: int) -> None:
        self._store, self._version = store, version

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        query, table = "SELECT key, value FROM {rows} WHERE key = ANY(%b)", self._store._table(self._version, kind)
        found = dict(self._store._fetched(query, list(keys), rows=table))
        return [found.get(each) for each in keys]

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        query = self._store._sql("SELECT key, value FROM {rows}", rows=self._store._table(self._version, kind))
        with (
            self._store._connection() as connection,
            connection.transaction(),
            connection.cursor("scan", binary=True) as cursor,
        ):
            cursor.itersize = 4096
            yield from base.records(iter(cursor.execute(query)))


def copied(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Rows of two bytea columns as COPY's binary format has them."""
    rows = (b"%b%b%b%b" % (pack(">hi", 2, len(key)), key, pack(">i", len(value)), value) for key, value in pairs)
    return b"".join([b"PGCOPY\n\xff\r\n\0" + bytes(8), *rows, b"\xff\xff"])


def _aligned(sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (sizes + 7) // 8 * 8


def _one(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    """The one value of a query."""
    found = connection.execute(query, values).fetchone()
    assert found is not None  # each of them always gives a row
    return found[0]


def _close(idle: SimpleQueue[psycopg.Connection[Any]]) -> None:
    while not idle.empty():
        idle.get_nowait().close()
