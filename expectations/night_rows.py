"""A night's rows of one table, read from Delta through Arrow -> pandas frames of bounded size for a suite to check.

Only the night's rows come into memory, ROWS_PER_FRAME at a time. What needs the whole table (is the key unique?) is
counted before by DuckDB, which spills, and becomes one more column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from expectations.table_suite import COPIES, TableSuite
from nightloom.contracts import Table
from nightloom.lake import arrow_type
from nightloom.lake.duck import read_parquet, spilling_duckdb
from nightloom.night.context import Night

ROWS_PER_FRAME, BYTES_PER_FRAME = 500_000, 150_000_000
"""A frame ends at the first of them: a row may be a flag or a list of fifty items."""
ALL = "true"


def frames(night: Night, suite: TableSuite) -> Iterator[pd.DataFrame]:
    """The night's rows with the added columns, in slices; one empty slice when there are no rows.

    Columns keep their Arrow types (pandas' ArrowDtype): lists and maps cost no copy, and a type can be checked exactly.
    """
    opened, copies = night.lake.open(suite.table, night.pin(suite.table)), repeated_keys(night, suite.table)
    builder = QueryBuilder().register("t", opened)
    sql = statement(night, suite, _mismatched(suite.table, opened))
    reader = pa.RecordBatchReader.from_stream(builder.execute(sql))
    schema = pa.schema([(field.name, _contract_type(field.type)) for field in reader.schema])
    waiting: list[pa.RecordBatch] = []
    slices = 0
    for batch in reader:
        waiting.append(batch)
        rows, size = (sum(getattr(part, name) for part in waiting) for name in ("num_rows", "nbytes"))
        if rows >= ROWS_PER_FRAME or size >= BYTES_PER_FRAME:
            yield _pandas(pa.Table.from_batches(waiting, reader.schema).cast(schema), suite.table, copies)
            waiting, slices = [], slices + 1
    if waiting or not slices:
        yield _pandas(pa.Table.from_batches(waiting, reader.schema).cast(schema), suite.table, copies)


def repeated_keys(night: Night, table: Table) -> dict[tuple[Any, ...], int]:
    """Keys of the night's rows that more than one row of the whole table has -> how many rows.

    By their hashes first, which take a tenth of the memory. In bronze a key may stand twice: nobody asks.
    """
    files, mine = night.lake.files(table, night.pin(table)), of_night(night, table)
    if not files or table.layer == "bronze":
        return {}
    key = ", ".join(f'"{name}"' for name in table.key)
    # A key that holds the period or the night can only stand twice within it.
    within = table.period or "night" in table.key or mine == ALL
    candidates = f"t WHERE {mine}" if within else f"t SEMI JOIN (SELECT {key} FROM t WHERE {mine}) USING ({key})"
    with spilling_duckdb(night.settings.place("scratch")) as db:
        hive = table.partition is not None
        read_parquet(db, files, union_by_name=True, hive_partitioning=hive).create_view("t")
        found = db.sql(
            f"""WITH hashed AS (SELECT {key}, hash({key}) AS h FROM {candidates}),
            twice AS (SELECT h FROM hashed GROUP BY h HAVING count(*) > 1)
            SELECT {key}, count(*) AS n FROM hashed SEMI JOIN twice USING (h) GROUP BY ALL HAVING n > 1"""
        ).fetchall()
    return {row[:-1]: row[-1] for row in found}


def _mismatched(table: Table, opened: DeltaTable) -> set[str]:
    """Columns of the contract that the table lacks, or has with another type."""
    found = {field.name: _contract_type(field.type) for field in pa.schema(opened.schema().to_arrow())}
    return {column.name for column in table.columns if found.get(column.name) != arrow_type(column.type)}


def statement(night: Night, suite: TableSuite, mismatched: Set[str] = frozenset()) -> str:
    """The SQL: rows of the night and added columns. It streams: it neither joins nor groups.

    An added column that uses a `mismatched` one is left out: what is expected of it then fails, and nothing else.
    """
    columns = [
        f"{sql} AS {name}" for name, sql in suite.columns.items() if not mismatched & set(re.findall(r"\w+", sql))
    ]
    return f"SELECT {', '.join(['*', *columns])} FROM t WHERE {of_night(night, suite.table)}"


def of_night(night: Night, table: Table) -> str:
    """SQL: rows that the night wrote, or those of its day, week or month; all rows of a table without a period."""
    if not table.period and "night" not in table.column_names:
        return ALL
    return f"{table.period or 'night'} = DATE '{table.period_of(night.date)}'"


def _pandas(rows: pa.Table, table: Table, copies: Mapping[tuple[Any, ...], int]) -> pd.DataFrame:
    """The rows with the column COPIES."""
    counts = pa.repeat(pa.scalar(1, pa.int64()), len(rows))
    if copies:
        keys = zip(*(rows[name].to_pylist() for name in table.key), strict=True)
        counts = pa.array([copies.get(key, 1) for key in keys], pa.int64())
    frame: pd.DataFrame = rows.append_column(COPIES, counts).to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _contract_type(type: pa.DataType) -> pa.DataType:
    """The Arrow type as the contract writes it: DataFusion returns views and names list members its own way."""
    if pa.types.is_string_view(type) or pa.types.is_large_string(type):
        return pa.string()
    if pa.types.is_list(type):
        return pa.list_(_contract_type(type.value_type))
    if pa.types.is_map(type):
        return pa.map_(_contract_type(type.key_type), _contract_type(type.item_type))
    return type
