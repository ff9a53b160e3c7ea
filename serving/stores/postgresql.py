"""PostgreSQL: a table per version and kind in a schema of the project's name, filled by COPY, deleted by DROP.

Readers need USAGE on the schema and SELECT on its tables (ALTER DEFAULT PRIVILEGES, since each night adds new ones).
The lock is a session's advisory lock, and only that session writes notes: both end with the connection.
"""

from __future__ import annotations

import os
import select
import socket
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
from psycopg.abc import RV, PQGen

from nightloom.errors import StoreError
from serving.stores import base
from serving.stores.base import KINDS, Part, RowSizes
from serving.stores.pushes import FailureReason, PushError, concurrent_push, version_name
from serving.stores.server import READ_SECONDS, ServerStore

PAGE, PAGE_HEAD, SPECIAL = 8192, 24, 16
INLINE = 8160
"""A row of up to so many bytes stays in its page in one piece: the largest value of toast_tuple_target."""
CHUNK, CHUNKS_A_PAGE = 1996, 4
FORKS = 5 * PAGE
"""Free-space and visibility maps of a table with more than a few pages, and the first page of its index."""
TABLES = """CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.notes (name text PRIMARY KEY, text text NOT NULL);
CREATE TABLE IF NOT EXISTS {schema}.parts (version int, kind text, part int, PRIMARY KEY (version, kind, part))"""
ROWS = """CREATE TABLE IF NOT EXISTS {rows} (key bytea NOT NULL, value bytea NOT NULL) WITH (toast_tuple_target = 8160,
autovacuum_enabled = off); ALTER TABLE {rows} ALTER value SET STORAGE EXTERNAL"""
"""Values are not compressed: a list is read as it is stored, and its size can be predicted."""


class PostgresStore(ServerStore):
    """A schema of one database."""

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        super().__init__(place, project, reading)
        self._schema, self._number = sql.Identifier(project), crc32(project.encode())
        self._holder: psycopg.Connection[Any] | None = None
        self._idle: SimpleQueue[psycopg.Connection[Any]] = SimpleQueue()
        finalize(self, _close, self._idle)

    def _connect(self) -> psycopg.Connection[Any]:
        who = f"nightloom {socket.gethostname()} process {os.getpid()}"
        kind, seconds = (ReadingConnection, 2) if self.reading else (psycopg.Connection[Any], 5)
        return kind.connect(self.address, autocommit=True, connect_timeout=seconds, application_name=who)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for one caller at a time; it stays open for the next one.

        Not psycopg_pool's: while a server refuses connections, that one waits its whole time-out (5 s against 0.01 s,
        measured) and puts the server's words into a log. Readers need an error at once, to answer from a snapshot.
        """
        with self._translate_errors():
            connection = self._take_idle() or self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.put(connection)

    def _take_idle(self) -> psycopg.Connection[Any] | None:
        """An idle connection that is alive. An idle server sends nothing but its end."""
        while True:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                return None
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise PushError(FailureReason.QUOTA, f"{self.location}: the disk is full ({error})") from None
        except psycopg.Error as error:
            raise StoreError(f"{self.location}: {' '.join(str(error).split())}") from None

    def _sql(self, text: str, **names: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(schema=self._schema, **names)

    def _table(self, version: int, kind: str) -> sql.Composed:
        return sql.SQL("{}.{}").format(self._schema, sql.Identifier(f"{version_name(version)}_{kind}"))

    def _fetch_rows(self, text: str, *values: Any, **names: sql.Composable) -> list[tuple[Any, ...]]:
        """Rows of a query; none before its table exists."""
        with self._connection() as connection:
            try:
                return connection.execute(self._sql(text, **names), values, binary=True).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def read_note(self, name: str) -> str | None:
        found = self._fetch_rows("SELECT text FROM {schema}.notes WHERE name = %s", name)
        return found[0][0] if found else None

    def read_notes(self) -> dict[str, str]:
        return dict(self._fetch_rows("SELECT name, text FROM {schema}.notes"))

    def write_note(self, name: str, text: str | None) -> None:
        if self._holder is None:
            raise StoreError(f"{self.location}: only a push that holds the lock writes")
        with self._translate_errors():
            if text is None:
                self._holder.execute(self._sql("DELETE FROM {schema}.notes WHERE name = %s"), (name,))
            else:
                put = "INSERT INTO {schema}.notes VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET text = excluded.text"
                self._holder.execute(self._sql(put), (name, text))

    def swap_note(self, name: str, before: str | None, after: str) -> bool:
        with self._connection() as connection:
            if before is None:
                connection.execute(self._sql(TABLES))
                put = "INSERT INTO {schema}.notes VALUES (%s, %s) ON CONFLICT (name) DO NOTHING"
                return connection.execute(self._sql(put), (name, after)).rowcount == 1
            put = "UPDATE {schema}.notes SET text = %s WHERE name = %s AND text = %s"
            try:
                return connection.execute(self._sql(put), (after, name, before)).rowcount == 1
            except psycopg.errors.UndefinedTable:
                return False

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        with self._translate_errors():
            holder = self._connect()
        try:
            with self._translate_errors():
                if not _fetch_value(holder, "SELECT pg_try_advisory_lock(%s)", self._number):
                    other = """SELECT max(application_name) FROM pg_locks JOIN pg_stat_activity USING (pid)
                        WHERE locktype = 'advisory' AND objid = %s::bigint::oid AND granted"""
                    raise concurrent_push(self.location, _fetch_value(holder, other, self._number))
                holder.execute(self._sql(TABLES))
            self._holder = holder
            yield
        finally:
            self._holder = None
            with suppress(psycopg.Error):  # an error here: the session has ended, and its lock with it
                holder.execute("SELECT pg_advisory_unlock_all()")  # closing alone frees the lock a moment later
            holder.close()

    def begin_load(self, version: int) -> set[Part]:
        with self._connection() as connection:
            for kind in KINDS:
                connection.execute(self._sql(ROWS, rows=self._table(version, kind)))
        return set(self._fetch_rows("SELECT kind, part FROM {schema}.parts WHERE version = %s", version))

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        table = self._table(version, part[0])
        with self._connection() as connection, connection.transaction():
            mark = self._sql("INSERT INTO {schema}.parts VALUES (%s, %s, %s) ON CONFLICT DO NOTHING")
            if connection.execute(mark, (version, *part)).rowcount:
                with connection.cursor().copy(self._sql("COPY {rows} FROM STDIN (FORMAT binary)", rows=table)) as copy:
                    copy.write(encode_copy(base.key_value_pairs(rows)))

    def finish_load(self, version: int) -> None:
        """Builds the indexes: one over a complete table is quicker than one that grows with it."""
        for kind in KINDS:
            table, index = self._table(version, kind), sql.Identifier(f"{version_name(version)}_{kind}_key")
            with self._connection() as connection:
                try:
                    make = "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {rows} (key)"
                    connection.execute(self._sql(make, rows=table, index=index))
                except psycopg.errors.UniqueViolation as error:
                    raise PushError(
                        FailureReason.COUNT_MISMATCH, f"{version_name(version)} of {self.location}: {kind}: {error}"
                    ) from None
                connection.execute(self._sql("ANALYZE {rows}", rows=table))

    def open_version(self, version: int) -> PostgresVersion:
        return PostgresVersion(self, version)

    def delete_rows(self, version: int) -> None:
        with self._connection() as connection:
            for kind in KINDS:
                connection.execute(self._sql("DROP TABLE IF EXISTS {rows}", rows=self._table(version, kind)))
            connection.execute(self._sql("DELETE FROM {schema}.parts WHERE version = %s"), (version,))

    def version_bytes(self, version: int) -> int:
        tables = [self._table(version, kind) for kind in KINDS]
        with self._connection() as connection:
            query = "SELECT coalesce(pg_total_relation_size(to_regclass(%s)), 0)"
            return sum(_fetch_value(connection, query, table.as_string(connection)) for table in tables)

    def free_bytes(self) -> int | None:
        return None

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        total = 0.0
        for size in sizes.values():
            if not size.rows:
                continue
            keys, values = size.keys + np.where(size.keys < 127, 1, 4), size.values + 4
            row = 24 + keys + values
            toasted = row > INLINE
            row = _align(np.where(toasted, 24 + keys + 18, row)) + 4
            heap = base.mean_page_share(row, PAGE - PAGE_HEAD)
            toast = np.where(toasted, np.ceil(size.values / CHUNK) * (1 / CHUNKS_A_PAGE + 0.004), 0).mean()
            entry = _align(8 + keys) + 4
            index = entry.mean() / ((PAGE - PAGE_HEAD - SPECIAL) * 0.9) * 1.005
            total += size.rows * (heap + toast + index) * PAGE + FORKS
        return int(total)


class ReadingConnection(psycopg.Connection[Any]):
    """Waits READ_SECONDS for an answer. TCP's own time-outs do not help: a stopped server's kernel acknowledges."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = READ_SECONDS) -> RV:
        return super().wait(gen, interval, timeout)


class PostgresVersion:
    """One version, read by key."""

    survives_pruning = False

    def __init__(self, store: PostgresStore, version: int) -> None:
        self._store, self._version = store, version

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        query, table = "SELECT key, value FROM {rows} WHERE key = ANY(%b)", self._store._table(self._version, kind)
        found = dict(self._store._fetch_rows(query, list(keys), rows=table))
        return [found.get(each) for each in keys]

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        query = self._store._sql("SELECT key, value FROM {rows}", rows=self._store._table(self._version, kind))
        with (
            self._store._connection() as connection,
            connection.transaction(),
            connection.cursor("scan", binary=True) as cursor,
        ):
            cursor.itersize = 4096
            yield from base.to_batches(iter(cursor.execute(query)))


def encode_copy(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Rows of two bytea columns in COPY's binary format."""
    rows = (b"%b%b%b%b" % (pack(">hi", 2, len(key)), key, pack(">i", len(value)), value) for key, value in pairs)
    return b"".join([b"PGCOPY\n\xff\r\n\0" + bytes(8), *rows, b"\xff\xff"])


def _align(sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (sizes + 7) // 8 * 8


def _fetch_value(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    """The value of a query that gives exactly one."""
    found = connection.execute(query, values).fetchone()
    assert found is not None  # each of these queries always gives a row
    return found[0]


def _close(idle: SimpleQueue[psycopg.Connection[Any]]) -> None:
    while not idle.empty():
        idle.get_nowait().close()
