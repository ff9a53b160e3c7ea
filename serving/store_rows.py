"""Tables of one night -> rows of key and value for a store, sorted by key, by DuckDB; and the bytes they will take.

gold.recommendations -> users; silver.items -> items; gold.popular -> popular; gold.similar_items -> similar;
gold.histories and silver.users -> histories, a row per user with a history or attributes. Values are JSON text made in
the engine: no Python per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW

from nightloom.contracts import HISTORIES, ITEMS, POPULAR, RECOMMENDATIONS, SIMILAR_ITEMS, USERS, Table
from nightloom.lake import Lake, arrow_schema
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.lake.recommendations import files_of_night, nightly_lists
from nightloom.lake.user_histories import ATTRIBUTES, user_histories
from nightloom.literals import sql_text
from nightloom.night.context import end_of
from serving.float_json import json_lists
from serving.stores.base import MAX_KEY_BYTES, RowSizes, value_header

BATCH_ROWS = 20_480
START = "2000-01-01T00:00:00Z"
MOMENT = "strftime(generated_at, '%Y-%m-%dT%H:%M:%SZ')"
SOURCES: dict[str, Table] = {
    "users": RECOMMENDATIONS, "items": ITEMS, "popular": POPULAR, "similar": SIMILAR_ITEMS, "histories": HISTORIES,
}  # fmt: skip
IDS = {"users": "user_id", "items": "item_id", "popular": "segment", "similar": "item_id", "histories": "user_id"}
LISTS = """'"items":' || to_json(items) || ',"scores":' || json_lists(scores)"""
BODIES = {
    "users": f"""'"user":' || to_json(user_id) || ',"model_version":' || to_json(model_version) || ',' || {LISTS}""",
    "items": """'"title":' || to_json(title) || ',"categories":' || to_json(categories)
        || ',"available":' || to_json(available) || ',"attributes":' || to_json(attributes)""",
    "similar": f"""'"item":' || to_json(item_id) || ',"model_version":' || to_json(model_version) || ',' || {LISTS}""",
    "popular": f"""'"segment":' || to_json(segment) || ',' || {LISTS}""",
    "histories": """'"user":' || to_json(user_id) || ',"items":' || to_json(items) || ',"weights":' ||
        json_lists(weights) || ',"at":' || to_json("at") || ',"attributes":' || to_json(attributes)""",
}
"""What follows a value's head."""
SAMPLE = 20_000
"""Rows of a kind that are measured, to predict the bytes of all."""


def key_sql(column: str) -> str:
    """Key of an id column; stores.base.encode_key() does the same in Python."""
    return f"""CASE WHEN octet_length(encode({column})) <= {MAX_KEY_BYTES} THEN encode('=' || {column})
        ELSE encode('#' || sha256({column})) END"""


@dataclass(frozen=True)
class StoreRows:
    """One night's rows for a store, at pinned table versions."""

    lake: Lake
    night: date
    versions: dict[str, int]
    """Table -> version; a table that is not there has no rows."""
    scratch: Path
    """Folder for what does not fit in memory."""

    def batches(self, kind: str, version: int, moment: str, at_a_time: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows of a kind by key: key, value, and the hashes `row_hash` (of both) and `body_hash` (without the header).

        `moment` is the generated_at of tables that have none.
        """
        with self._connect(kind) as connection:
            reader = connection.sql(
                f"""SELECT key, value, hash(key, value) AS row_hash, hash(key, body) AS body_hash FROM
                ({self._pairs_sql(kind, version, moment)}) ORDER BY key"""
            ).to_arrow_reader(at_a_time)
            assert reader is not None  # a SELECT always has a result
            yield from reader

    def sizes(self, kind: str) -> RowSizes:
        """How many rows a kind has, and how large a sample of them is."""
        with self._connect(kind) as connection:
            ((rows,),) = connection.execute("SELECT count(*) FROM rows").fetchall()
            sample = connection.execute(
                f"""SELECT octet_length(key) AS keys, octet_length(value) AS values FROM
                ({self._pairs_sql(kind, 1, START, self._sample_sql(connection, kind, rows))})"""
            ).fetchnumpy()
        return RowSizes(rows, *(np.asarray(sample[name], np.int64) for name in ("keys", "values")))

    def _sample_sql(self, connection: duckdb.DuckDBPyConnection, kind: str, rows: int) -> str:
        """A source of about SAMPLE of the kind's rows, drawn by a hash of the id.

        Lists are the first ones of each file instead: a draw would read all of them.
        """
        files = self._files(SOURCES[kind])
        if kind != "users" or not files:
            return f"(FROM rows WHERE hash({IDS[kind]}) % {max(rows, 1)} < {SAMPLE})"
        numbered = read_parquet(connection, files, union_by_name=True, file_row_number=True)
        numbered.filter(f"file_row_number < {-(-SAMPLE // len(files))}").create_view("first_rows")
        return "first_rows"

    def _pairs_sql(self, kind: str, version: int, moment: str, source: str = "rows") -> str:
        """SQL for key, value and the value's body."""
        first, last = value_header(version, "|").split("|")
        at = MOMENT if kind == "users" else sql_text(moment)
        return f"""SELECT key, body, encode({sql_text(first)} || {at} || {sql_text(last)} || body || '}}') AS value FROM
            (SELECT *, {key_sql(IDS[kind])} AS key, {BODIES[kind]} AS body
            FROM {source})"""

    def origin(self) -> tuple[str, str] | None:
        """Version of the model that scored the lists (several: comma-separated), and when the last one was scored.

        None where no user has a list.
        """
        with self._connect("users") as connection:
            found = connection.execute(
                f"SELECT string_agg(DISTINCT model_version, ', ' ORDER BY model_version), max({MOMENT}) FROM rows"
            ).fetchone()
        assert found is not None  # an aggregate always gives a row
        return (str(found[0]), str(found[1])) if found[0] else None

    @contextmanager
    def _connect(self, kind: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection in which `rows` is the kind's table at its version.

        DuckDB reads the files that the Delta log names by itself, in half the time of rows that come through Arrow.
        """
        with spilling_duckdb(self.scratch) as connection:
            self._create_views(connection, kind)
            yield connection

    def _create_views(self, connection: duckdb.DuckDBPyConnection, kind: str) -> None:
        connection.create_function("json_lists", json_lists, ["FLOAT[]"], "VARCHAR", type=ARROW)
        files = self._files(SOURCES[kind])
        if files:
            named = SOURCES[kind].partition is not None  # its column is in the folders' names alone
            read_parquet(connection, files, union_by_name=True, hive_partitioning=named).create_view("stored")
        else:
            connection.register("stored", arrow_schema(SOURCES[kind]).empty_table())
        rows = "FROM stored"
        if kind == "histories":
            self._create_users(connection)
            rows = user_histories(end_of(self.night), "stored", "described_users")
        if kind == "users" and files:
            rows = nightly_lists(self.lake, self.night, self.versions[RECOMMENDATIONS.full_name], source="stored")
        connection.execute(f"CREATE VIEW rows AS {rows}")

    def _create_users(self, connection: duckdb.DuckDBPyConnection) -> None:
        """The view `described_users`: attributes as NAME=VALUE."""
        if (version := self.versions.get(USERS.full_name)) is None:
            connection.execute("CREATE VIEW described_users AS SELECT '' AS user_id, ['']  AS attributes WHERE false")
            return
        read_parquet(connection, self.lake.files(USERS, version), union_by_name=True).create_view("stored_users")
        users = f"SELECT user_id, {ATTRIBUTES} AS attributes FROM stored_users"
        connection.execute(f"CREATE VIEW described_users AS {users}")

    def _files(self, table: Table) -> list[str]:
        """A table's files at its version, of the night alone where it has nights."""
        version = self.versions.get(table.full_name)
        if version is None:
            return []
        if table.partition != "night":
            return self.lake.files(table, version)
        return files_of_night(self.lake, table, self.night, version)
