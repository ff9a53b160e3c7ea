"""Cassandra 4.1 or later: a keyspace of the project's name, with a table per version, which DROP TABLE deletes.

NAME.v000001 has the rows in partitions (kind, bucket) of some thousand rows each: they are written many at a time and
read by key. No row is ever overwritten or deleted by itself, so there are no tombstones. NAME.notes is one partition,
since a lightweight transaction compares within one: a note is written IF the lock still has this push's token.

Rows are written to a quorum in each data centre and read from a quorum in one, so that no reader misses any.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import finalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cassandra import (
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    ProtocolVersion,
    RequestExecutionException,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, ResponseFuture, Session
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy, RetryPolicy
from cassandra.protocol import ErrorMessage
from cassandra.query import BatchStatement, BatchType, PreparedStatement, tuple_factory

from nightloom.errors import StoreError
from serving.stores import base, lease
from serving.stores.base import Part, RowSizes
from serving.stores.pushes import version_name
from serving.stores.server import BUCKETS, READ_SECONDS, bucket_of

PORT = 9042
COPIES = 3
"""Of each row in each data centre of a new keyspace; fewer where a data centre has fewer servers."""
RECONNECT_SECONDS = 0.25
"""The driver's own policy waits longer and longer, up to ten minutes."""
HEARTBEAT_SECONDS = 1
"""An idle connection that died is noticed and replaced so soon; by default in 30 s, and till then requests fail."""
ROWS_A_BATCH = 50
"""Of one partition, which Cassandra writes in one step; a batch is at most some MB of its 16."""
BATCHES_AT_A_TIME = 16
PARTITIONS_AT_A_TIME = 16
"""Read ahead by a scan, a page of each."""
PAGE_ROWS = 1000
WRITE_TRIES = 4
PARTS = "parts"
"""A kind in each version's table besides KINDS: complete parts, and the bytes of each."""
PARTITION = "SELECT key, value FROM {table} WHERE kind = ? AND bucket = ?"
NOTES = """CREATE TABLE IF NOT EXISTS {table} (project text, name text, text text, holder text static,
PRIMARY KEY (project, name))"""
ROWS = """CREATE TABLE IF NOT EXISTS {table} (kind text, bucket int, key blob, value blob,
PRIMARY KEY ((kind, bucket), key)) WITH compression = {{'class': 'NoopCompressor'}} AND allow_auto_snapshot = false
AND incremental_backups = false"""
"""Values are not compressed: a list is read as it is stored, and its size can be predicted; a checksum is compared at
each read. Without a snapshot, the space of a dropped table is free at once."""
ROW_HEAD, INDEX_SHARE = 14, 0.0035
"""Bytes of a row besides its key and value; the share of an SSTable's index and checksums."""
Lengths = np.ndarray[Any, Any]
logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # what the driver has to report it also raises


class CassandraStore(lease.LeaseStore):
    """A keyspace of one cluster. The address names servers of the data centre that is read."""

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        super().__init__(place, project, reading)
        self.keyspace = project.replace("-", "_")
        self._prepare = lru_cache(64)(self._prepare_statement)
        self._patience = READ_SECONDS if reading else 20
        self._one_transaction = threading.Lock()
        """Two at once would hinder each other: the lock is renewed while notes are written."""

    @cached_property
    def _session(self) -> Session:
        """Connected at the first use: a server of ours starts while Cassandra is away, too."""
        with self._translate_errors():
            cluster = self._cluster()
            try:
                session = cluster.connect()
            except BaseException:
                cluster.shutdown()
                raise
        # The collector runs in any thread, one of the driver's too, and that cannot wait for its own end. At the end of
        # the process the driver itself ends its clusters.
        finalize(self, lambda: threading.Thread(target=cluster.shutdown).start()).atexit = False
        return session

    def _cluster(self) -> Cluster:
        address, seconds = urlsplit(self.address), READ_SECONDS if self.reading else 5
        login = PlainTextAuthProvider(unquote(address.username or ""), unquote(address.password or ""))
        profile = ExecutionProfile(
            consistency_level=ConsistencyLevel.LOCAL_QUORUM, serial_consistency_level=ConsistencyLevel.SERIAL,
            request_timeout=self._patience, row_factory=tuple_factory,
            retry_policy=RetryPolicy() if self.reading else RepeatedWrites(),
        )  # fmt: skip
        return Cluster(
            (address.hostname or "").split(","), address.port or PORT,
            auth_provider=login if address.username else None, execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            ssl_context=ssl.create_default_context() if address.scheme == "cassandras" else None,
            connect_timeout=seconds, control_connection_timeout=seconds, protocol_version=ProtocolVersion.V5,
            idle_heartbeat_interval=HEARTBEAT_SECONDS,
            reconnection_policy=ConstantReconnectionPolicy(RECONNECT_SECONDS, None), prepare_on_all_hosts=False,
        )  # fmt: skip

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except NoHostAvailable as error:
            causes = {str(cause) or type(cause).__name__ for cause in dict(error.errors).values()}
            why = "; ".join(sorted(causes)) or "all are down"
            raise StoreError(f"{self.location}: no server answers ({why})") from None
        except OperationTimedOut:
            raise StoreError(f"{self.location}: no answer within {self._patience} s") from None
        except (DriverException, ConnectionException, ErrorMessage) as error:
            raise StoreError(f"{self.location}: {str(error) or type(error).__name__}") from None

    @contextmanager
    def _reading(self, table: str) -> Iterator[None]:
        """A block that reads a table, and ends early where that does not exist (any more)."""
        with self._translate_errors():
            try:
                yield
            except (InvalidRequest, RequestExecutionException, ErrorMessage):
                if self._has_table(table):
                    raise

    def _has_table(self, table: str) -> bool:
        query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s AND table_name = %s"
        return bool(list(self._session.execute(query, (self.keyspace, table))))

    def _has_keyspace(self) -> bool:
        query = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
        return bool(list(self._session.execute(query, (self.keyspace,))))

    def _cql(self, text: str, table: str) -> str:
        return text.format(table=f'"{self.keyspace}".{table}')

    def _prepare_statement(self, text: str, table: str) -> PreparedStatement:
        """Callers use _prepare, which keeps those that were used last."""
        statement = self._session.prepare(self._cql(text, table))
        statement.fetch_size = PAGE_ROWS
        return statement

    def _fetch_rows(self, table: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query; none where the table does not exist."""
        found = list[tuple[Any, ...]]()
        with self._reading(table):
            found = list(self._session.execute(self._prepare(text, table), values))
        return found

    def read_note(self, name: str) -> str | None:
        found = self._fetch_rows("notes", "SELECT text FROM {table} WHERE project = ? AND name = ?", self.project, name)
        return found[0][0] if found else None

    def read_notes(self) -> dict[str, str]:
        found = self._fetch_rows("notes", "SELECT name, text FROM {table} WHERE project = ?", self.project)
        return {name: text for name, text in found if name is not None}  # a lock without notes is a row, too

    def write_note(self, name: str, text: str | None) -> None:
        query = "UPDATE {table} SET text = ? WHERE project = ? AND name = ? IF holder = ?"
        if not self._compare_and_set(query, text, self.project, name, self._token)[0]:
            raise self._lock_lost()

    def swap_note(self, name: str, before: str | None, after: str) -> bool:
        self._create_notes()
        if before is None:
            query = "INSERT INTO {table} (project, name, text) VALUES (?, ?, ?) IF NOT EXISTS"
            return bool(self._compare_and_set(query, self.project, name, after)[0])
        query = "UPDATE {table} SET text = ? WHERE project = ? AND name = ? IF text = ?"
        return bool(self._compare_and_set(query, after, self.project, name, before)[0])

    def _compare_and_set(self, text: str, *values: Any) -> tuple[Any, ...]:
        """Run a lightweight transaction -> whether it was applied; if not, who holds the lock."""
        with self._translate_errors(), self._one_transaction:
            (found,) = self._session.execute(self._prepare(text, "notes"), values)
        return tuple(found)

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        self._create_notes()
        with super().exclusive_lock():
            yield

    def _acquire_lock(self, token: str) -> str | None:
        query = "UPDATE {table} USING TTL ? SET holder = ? WHERE project = ? IF holder = null"
        applied, *holder = self._compare_and_set(query, _lock_ttl(), token, self.project)
        return None if applied or holder == [token] else str(holder[0])  # ours: a repeated write was applied before

    def _renew_lock(self, token: str) -> bool:
        query = "UPDATE {table} USING TTL ? SET holder = ? WHERE project = ? IF holder = ?"
        return bool(self._compare_and_set(query, _lock_ttl(), token, self.project, token)[0])

    def _release_lock(self, token: str) -> None:
        self._compare_and_set("UPDATE {table} SET holder = null WHERE project = ? IF holder = ?", self.project, token)

    def _create_notes(self) -> None:
        """Create the keyspace and its notes, where they are missing."""
        with self._translate_errors():
            if not self._has_table("notes"):
                if not self._has_keyspace():
                    self._session.execute(
                        f'CREATE KEYSPACE IF NOT EXISTS "{self.keyspace}" WITH replication = '
                        f"{{'class': 'NetworkTopologyStrategy', 'replication_factor': {self._copies()}}}"
                    )
                self._session.execute(self._cql(NOTES, "notes"))
            found = self._session.execute(self._cql("SELECT DISTINCT project FROM {table}", "notes"))
        if others := sorted({project for (project,) in found} - {self.project}):
            raise StoreError(
                f"{self.location}: the keyspace {self.keyspace} has the lists of project {others[0]!r}, and those of "
                f"{self.project!r} would overwrite them; give this project another name, or another cluster"
            )

    def _copies(self) -> int:
        """As many as each data centre has servers, at most COPIES."""
        servers = Counter(host.datacenter for host in self._session.cluster.metadata.all_hosts())
        return min(COPIES, *servers.values())

    def begin_load(self, version: int) -> set[Part]:
        self._require_lock()
        with self._translate_errors():
            self._session.execute(self._cql(ROWS, version_name(version)))
        return set(self._parts(version))

    def _parts(self, version: int) -> dict[Part, int]:
        """Complete parts -> their bytes."""
        query = "SELECT key, value FROM {table} WHERE kind = ? AND bucket = 0"
        found = self._fetch_rows(version_name(version), query, PARTS)
        return {(kind, int(number)): int(value) for key, value in found for kind, number in [key.decode().split("/")]}

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        self._require_lock()
        kind, table = part[0], version_name(version)
        buckets = defaultdict[int, list[tuple[bytes, bytes]]](list)
        for pair in base.key_value_pairs(rows):
            buckets[bucket_of(kind, pair[0])].append(pair)
        size = int(_row_bytes(*(pc.binary_length(rows[name]).to_numpy() for name in base.SCHEMA.names)).sum())
        mark = f"{kind}/{part[1]}".encode(), str(size).encode()
        with self._translate_errors():
            insert = self._prepare("INSERT INTO {table} (kind, bucket, key, value) VALUES (?, ?, ?, ?)", table)
            execute_concurrent(self._session, _batches(insert, kind, buckets), concurrency=BATCHES_AT_A_TIME)
            execute_concurrent(self._session, _batches(insert, PARTS, {0: [mark]}))

    def finish_load(self, version: int) -> None:
        """Does nothing: each row was acknowledged by a quorum of its copies in each data centre."""

    def open_version(self, version: int) -> CassandraVersion:
        return CassandraVersion(self, version)

    def delete_rows(self, version: int) -> None:
        if self._token:
            self._require_lock()
        with self._translate_errors():
            if self._has_table(version_name(version)):
                self._session.execute(self._cql("DROP TABLE IF EXISTS {table}", version_name(version)))

    def version_bytes(self, version: int) -> int:
        """Of one copy, as it will be on the disk: rows are in memory and in a log at first."""
        return sum(self._parts(version).values())

    def free_bytes(self) -> int | None:
        return None

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        """Of one copy."""
        return int(sum(each.rows * _row_bytes(each.keys, each.values).mean() for each in sizes.values() if each.rows))


class CassandraVersion:
    """One version; a key is read from the partition that its hash names."""

    survives_pruning = False

    def __init__(self, store: CassandraStore, version: int) -> None:
        self._store, self._table = store, version_name(version)

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        buckets = defaultdict[int, list[bytes]](list)
        for key in keys:
            buckets[bucket_of(kind, key)].append(key)
        partitions = [(kind, bucket, some) for bucket, some in buckets.items()]
        found = dict(self._rows(f"{PARTITION} AND key IN ?", partitions, len(partitions)))
        return [found.get(each) for each in keys]

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        partitions = [(kind, bucket) for bucket in range(BUCKETS[kind])]
        yield from base.to_batches(self._rows(PARTITION, partitions, PARTITIONS_AT_A_TIME))

    def _rows(self, query: str, partitions: Sequence[tuple[Any, ...]], ahead: int) -> Iterator[tuple[bytes, bytes]]:
        """Rows of a query for each partition; `ahead` of them are asked for at a time."""
        waiting, store = deque[ResponseFuture](), self._store
        with store._reading(self._table):
            statement = store._prepare(query, self._table)
            for each in partitions:
                waiting.append(store._session.execute_async(statement, each))
                if len(waiting) > ahead:
                    yield from waiting.popleft().result()
            for future in waiting:
                yield from future.result()


class RepeatedWrites(RetryPolicy):  # type: ignore[misc]  # the driver has no types
    """A server that is busy for a moment does not end a push: each write of ours can be repeated."""

    def on_write_timeout(
        self, query: Any, consistency: int, write_type: int, required_responses: int, received_responses: int,
        retry_num: int,
    ) -> tuple[int, int | None]:  # fmt: skip
        """The driver passes all by name. None leaves the level as it was: `consistency` is SERIAL where a lightweight
        transaction timed out, and none may be written with that."""
        return (self.RETRY, None) if retry_num < WRITE_TRIES - 1 else (self.RETHROW, None)


def _batches(
    insert: PreparedStatement, kind: str, buckets: Mapping[int, list[tuple[bytes, bytes]]]
) -> Iterator[tuple[BatchStatement, None]]:
    """Rows by bucket -> the writes of them, none with rows of two partitions, and their arguments."""
    for bucket, pairs in buckets.items():
        for start in range(0, len(pairs), ROWS_A_BATCH):
            batch = BatchStatement(BatchType.UNLOGGED, consistency_level=ConsistencyLevel.EACH_QUORUM)
            for key, value in pairs[start : start + ROWS_A_BATCH]:
                batch.add(insert, (kind, bucket, key, value))
            yield batch, None


def _lock_ttl() -> int:
    """Cassandra counts in whole seconds, and the first is not a complete one."""
    return int(lease.LOCK_SECONDS) + 1


def _row_bytes(keys: Lengths, values: Lengths) -> Lengths:
    """Bytes of rows in an SSTable, with their share of its index and checksums."""
    return ROW_HEAD + (keys + values) * (1 + INDEX_SHARE)
