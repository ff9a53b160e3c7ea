"""A night's rows of one table, read from Delta through Arrow -> pandas frames of bounded size for a suite to check.

Only the night's rows come into memory, ROWS_PER_FRAME at a time. What needs the whole table (is the key unique?) is
computed by the same SQL statement, as one more column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from expectations.table_suite import COPIES, TableSuite
from nightloom.contracts import Table
from nightloom.lake import arrow_type
from nightloom.night.context import Night

ROWS_PER_FRAME = 500_000
ALL = "true"


def frames(night: Night, suite: TableSuite) -> Iterator[pd.DataFrame]:
    """The night's rows with the added columns, in slices; one empty slice when there are no rows.

    Columns keep their Arrow types (pandas' ArrowDtype): lists and maps cost no copy, and a type can be checked exactly.
    """
    opened = night.lake.open(suite.table, night.pin(suite.table))
    builder = QueryBuilder().register("t", opened)
    sql = statement(night, suite, _mismatched(suite.table, opened))
    reader = pa.RecordBatchReader.from_stream(builder.execute(sql))
    schema = pa.schema([(field.name, _contract_type(field.type)) for field in reader.schema])
    waiting: list[pa.RecordBatch] = []
    slices = 0
    for batch in reader:
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= ROWS_PER_FRAME:
            yield _pandas(waiting, reader.schema, schema)
            waiting, slices = [], slices + 1
    if waiting or not slices:
        yield _pandas(waiting, reader.schema, schema)


def _mismatched(table: Table, opened: DeltaTable) -> set[str]:
    """Columns of the contract that the table lacks, or has with another type."""
    found = {field.name: _contract_type(field.type) for field in pa.schema(opened.schema().to_arrow())}
    return {column.name for column in table.columns if found.get(column.name) != arrow_type(column.type)}


def statement(night: Night, suite: TableSuite, mismatched: Set[str] = frozenset()) -> str:
    """The SQL: rows of the night, added columns, and how many rows of the whole table have each row's key.

    An added column that uses a `mismatched` one is left out: what is expected of it then fails, and nothing else.
    Keys are counted for the night's rows only, so that an old night's millions are read as one column and not grouped.
    """
    table, mine = suite.table, of_night(night, suite.table)
    key = ", ".join(table.key)
    # A key that holds the period or the night can only stand twice within it.
    candidates = (
        mine if table.period or "night" in table.key or mine == ALL else f"{key} IN (SELECT {key} FROM t WHERE {mine})"
    )
    same_key = " AND ".join(f"t.{column} = c.{column}" for column in table.key)
    columns = [
        f"{sql} AS {name}" for name, sql in suite.columns.items() if not mismatched & set(re.findall(r"\w+", sql))
    ]
    return f"""
        WITH copies AS (SELECT {key}, count(*) AS n FROM t WHERE {candidates} GROUP BY {key} HAVING count(*) > 1),
             mine AS (SELECT {", ".join(["*", *columns])} FROM t WHERE {mine})
        SELECT t.*, coalesce(c.n, 1) AS {COPIES} FROM mine t LEFT JOIN copies c ON {same_key}"""


def of_night(night: Night, table: Table) -> str:
    """SQL: rows that the night wrote, or those of its day, week or month; all rows of a table without a period."""
    if not table.period and "night" not in table.column_names:
        return ALL
    return f"{table.period or 'night'} = DATE '{table.period_of(night.date)}'"


def _pandas(batches: list[pa.RecordBatch], found: pa.Schema, wanted: pa.Schema) -> pd.DataFrame:
    rows: pd.DataFrame = pa.Table.from_batches(batches, found).cast(wanted).to_pandas(types_mapper=pd.ArrowDtype)
    return rows


def _contract_type(type: pa.DataType) -> pa.DataType:
    """The Arrow type as the contract writes it: DataFusion returns views and names list members its own way."""
    if pa.types.is_string_view(type) or pa.types.is_large_string(type):
        return pa.string()
    if pa.types.is_list(type):
        return pa.list_(_contract_type(type.value_type))
    if pa.types.is_map(type):
        return pa.map_(_contract_type(type.key_type), _contract_type(type.item_type))
    return type
