"""Gold tables of one night -> key and value rows for a store, sorted by key, by DuckDB; and the bytes they will take.

gold.recommendations -> users; silver.items -> items; gold.popular -> popular. Values are JSON text made in the engine:
no Python per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import QueryBuilder

from nightloom.lake import Lake
from nightloom.tables import ITEMS, POPULAR, RECOMMENDATIONS, Table
from serving.stores.lmdb import LONGEST_KEY, head

BATCH_ROWS = 20_480
PAGE = 4096
"""Bytes of an LMDB page; a value over about half of one gets pages of its own."""
MOMENT = "strftime(generated_at, '%Y-%m-%dT%H:%M:%SZ')"
SOURCES: dict[str, Table] = {"users": RECOMMENDATIONS, "items": ITEMS, "popular": POPULAR}
IDS = {"users": "user_id", "items": "item_id", "popular": "segment"}
LISTS = """'"items":' || to_json(items) || ',"scores":' || replace(scores::VARCHAR, ' ', '')"""
BODIES = {
    "users": f"""'"user":' || to_json(user_id) || ',"model_version":' || to_json(model_version) || ',' || {LISTS}""",
    "items": """'"title":' || to_json(title) || ',"categories":' || to_json(categories)
        || ',"available":' || to_json(available)""",
    "popular": f"""'"segment":' || to_json(segment) || ',' || {LISTS}""",
}
"""What follows a value's head. A float's text in DuckDB is JSON too: the shortest that reads back as the same float."""
LIST_BYTES = """list_sum([octet_length(encode(i)) + 3 for i in items])::BIGINT + 130
    + (length(scores[1]::VARCHAR) + 1) * len(items)"""
BYTES = {"users": LIST_BYTES, "popular": LIST_BYTES, "items": "octet_length(encode(title)) + 160"}
"""A value's bytes: ids are exact, every score of a list is taken to be as long as its first."""


def key_sql(column: str) -> str:
    """LMDB key of an id column; lmdb.key() does the same in Python."""
    return f"""CASE WHEN octet_length(encode({column})) <= {LONGEST_KEY} THEN encode('=' || {column})
        ELSE encode('#' || sha256({column})) END"""


@dataclass(frozen=True)
class Lists:
    """One night's rows at pinned table versions."""

    lake: Lake
    night: date
    versions: dict[str, int]
    """Table -> version."""
    scratch: Path
    """Folder for what does not fit in memory."""

    def rows(self, kind: str, version: int, moment: str) -> Iterator[pa.RecordBatch]:
        """Key and value of each row of a kind, keys rising. `moment` is generated_at where the table has none."""
        first, last = head(version, "|").split("|")
        at = MOMENT if kind == "users" else f"'{moment}'"
        with self._connected(kind) as connection:
            reader = connection.sql(
                f"""SELECT {key_sql(IDS[kind])} AS key, encode('{first}' || {at} || '{last}' || {BODIES[kind]} || '}}')
                AS value FROM rows ORDER BY key"""
            ).to_arrow_reader(BATCH_ROWS)
            assert reader is not None  # a SELECT always has a result
            yield from reader

    def bytes_needed(self, kind: str) -> int:
        """How many bytes of LMDB a kind will take, about."""
        with self._connected(kind) as connection:
            found = connection.execute(
                f"""WITH sized AS
                (SELECT {BYTES[kind]} AS bytes, octet_length({key_sql(IDS[kind])}) + 12 AS own FROM rows)
                SELECT sum(own + CASE WHEN bytes > {PAGE // 2 - 40} THEN ceil((bytes + 16) / {PAGE}) * {PAGE}
                ELSE bytes END) FROM sized"""
            ).fetchone()
        return int(found[0] or 0) if found else 0

    def origin(self) -> tuple[str, str]:
        """Version of the model that scored the lists (several: comma-separated), and when the last was scored."""
        with self._connected("users", "model_version, generated_at") as connection:
            found = connection.execute(
                f"SELECT string_agg(DISTINCT model_version, ', ' ORDER BY model_version), max({MOMENT}) FROM rows"
            ).fetchone()
        assert found is not None  # an aggregate always gives a row
        return str(found[0] or "none"), str(found[1])

    def _connected(self, kind: str, columns: str = "*") -> duckdb.DuckDBPyConnection:
        """A DuckDB connection in which `rows` is the kind's table, streamed once."""
        table = SOURCES[kind]
        where = f"night = DATE '{self.night}'" if table.partition else "true"
        connection = connect(self.scratch)
        connection.register("rows", stream(self.lake, table, self.versions[table.full_name], where, columns))
        return connection


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory that spills into `scratch` and knows one time zone, UTC."""
    connection = duckdb.connect(config={"temp_directory": str(scratch)})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def stream(lake: Lake, table: Table, version: int, where: str, columns: str = "*") -> pa.RecordBatchReader:
    """Rows of one table at a version as Arrow batches that can be read once; never the whole table in memory."""
    query = QueryBuilder().register("t", lake.open(table, version)).execute(f"SELECT {columns} FROM t WHERE {where}")
    return pa.RecordBatchReader.from_stream(query)
