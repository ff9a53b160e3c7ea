"""Ids of the night's events that no source describes, and how many of them are described in another spelling.

silver.interactions, silver.items, silver.users -> a measure for each kind that is described. An id that differs from
one described id by blanks, a `.0`, leading zeros or case alone is most likely the same: the measure names the keys of
`ids` that make the two one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce

import duckdb

from expectations.measure import Measure
from nightloom.contracts import INTERACTIONS, ITEMS, USERS, Table
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import sql_text
from nightloom.night.context import Night
from nightloom.settings.ids import BLANKS, LEADING_ZEROS, POINT_ZERO

EXAMPLES = 3
DESCRIBED: dict[str, tuple[Table, str]] = {"items": (ITEMS, "item_id"), "users": (USERS, "user_id")}
"""Kind of a source -> the table of what it describes, and the column of interactions that names it."""
SPELLINGS = {
    "trim = true": f"trim({{id}}, {sql_text(BLANKS)})",
    "drop_point_zero = true": f"regexp_replace({{id}}, '{POINT_ZERO}', '\\1')",
    "drop_leading_zeros = true": f"regexp_replace({{id}}, '{LEADING_ZEROS}', '\\1')",
    'case = "lower"': "lower({id})",
}
"""Key of `ids` -> the same in DuckDB's SQL; in the order in which they are applied."""


def differently_spelled(night: Night) -> Iterator[Measure]:
    """How many ids of the night's events are described in another spelling."""
    kinds = {source.kind for source in night.settings.sources}
    for kind, (table, key) in DESCRIBED.items():
        if kind in kinds and night.lake.exists(table) and night.lake.exists(INTERACTIONS):
            with spilling_duckdb(night.settings.place("scratch")) as db:
                yield _measure(night, db, table, key, kind)


def _measure(night: Night, db: duckdb.DuckDBPyConnection, table: Table, key: str, kind: str) -> Measure:
    opened = [
        ("t", night.lake.open(INTERACTIONS, night.pin(INTERACTIONS))),
        ("d", night.lake.open(table, night.pin(table))),
    ]
    named = f"SELECT DISTINCT {key} AS id FROM t WHERE night = DATE '{night.date}'"
    named = f"SELECT id, d.{key} IS NULL AS without FROM ({named}) LEFT JOIN d ON id = d.{key}"
    db.register("named_rows", night.lake.stream_query(named, *opened))
    db.execute("CREATE TABLE named AS FROM named_rows")
    db.execute("CREATE VIEW undescribed AS SELECT id FROM named WHERE without")
    ids, undescribed = db.sql("SELECT count(*), count(*) FILTER (without) FROM named").fetchall()[0]
    observed = f"{undescribed:,} of {ids:,} ids of {kind} in the night's events are not in {table.full_name}"
    found, near = _other_spellings(night, db, table, key) if undescribed else (0, "")
    return Measure(INTERACTIONS, f"{kind} described in another spelling", found, observed + near, None, 0.0)


def _other_spellings(night: Night, db: duckdb.DuckDBPyConnection, table: Table, key: str) -> tuple[int, str]:
    """How many undescribed ids one described id equals in another spelling, and what to declare."""
    db.register("described_rows", night.lake.stream(table, "true", (key,), night.pin(table)))
    db.execute(
        f"""CREATE TABLE near AS SELECT {key} AS id FROM described_rows
            WHERE {_spelled(SPELLINGS, key)} IN (SELECT {_spelled(SPELLINGS)} FROM undescribed)"""
    )
    found, keys = _count(db, _pairs(SPELLINGS)), [*SPELLINGS]
    if not found:
        return 0, ""
    for each in SPELLINGS:
        fewer = [other for other in keys if other != each]
        keys = keys if _count(db, f"{_pairs(SPELLINGS)} EXCEPT {_pairs(fewer)}") else fewer
    pairs = db.sql(f"{_pairs(keys)} ORDER BY 1 LIMIT {EXAMPLES}").fetchall()
    examples = ", ".join(f"{event!r} as {other!r}" for event, other in pairs)
    declare = f"`ids = {{ {', '.join(keys)} }}` in [[sources]] makes each pair one id"
    return found, f"; {found:,} of them are there in another spelling: {examples}; {declare}"


def _count(db: duckdb.DuckDBPyConnection, rows: str) -> int:
    return int(db.sql(f"SELECT count(*) FROM ({rows})").fetchall()[0][0])


def _pairs(keys: Iterable[str]) -> str:
    """SQL for the undescribed ids that these keys make equal to one described id alone, and for that id."""
    one = _spelled(keys)
    return f"""SELECT u.id, d.id FROM (SELECT id, {one} AS one FROM undescribed) AS u
        JOIN (SELECT min(id) AS id, {one} AS one FROM near GROUP BY 2 HAVING count(*) = 1) AS d USING (one)"""


def _spelled(keys: Iterable[str], id: str = "id") -> str:
    return reduce(lambda sql, key: SPELLINGS[key].format(id=sql), keys, id)
