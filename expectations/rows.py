"""A night's rows of one table, read from Delta through Arrow -> pandas frames of bounded size for a suite to look at.

Only the night's rows come into memory, ROWS_AT_ONCE at a time. What needs the whole table (is the key unique?) is asked
by SQL inside the same statement, and comes along as one more column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from expectations.contract import COPIES, Frame, plain
from nightloom.contracts import Table
from nightloom.lake import arrow_type
from nightloom.night.context import Night

ROWS_AT_ONCE = 500_000
ALL = "true"


def frames(night: Night, frame: Frame) -> Iterator[pd.DataFrame]:
    """The night's rows with the derived columns, in slices; one empty slice when there are none.

    Columns keep their Arrow types (pandas' ArrowDtype): lists and maps cost no copy, and a type can be checked exactly.
    """
    opened = night.lake.open(frame.table, night.pin(frame.table))
    builder = QueryBuilder().register("t", opened)
    reader = pa.RecordBatchReader.from_stream(builder.execute(statement(night, frame, _strange(frame.table, opened))))
    schema = pa.schema([(field.name, plain(field.type)) for field in reader.schema])
    waiting: list[pa.RecordBatch] = []
    slices = 0
    for batch in reader:
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= ROWS_AT_ONCE:
            yield _pandas(waiting, reader.schema, schema)
            waiting, slices = [], slices + 1
    if waiting or not slices:
        yield _pandas(waiting, reader.schema, schema)


def _strange(table: Table, opened: DeltaTable) -> set[str]:
    """Columns of the contract that the table lacks, or has with another type."""
    found = {field.name: plain(field.type) for field in pa.schema(opened.schema().to_arrow())}
    return {column.name for column in table.columns if found.get(column.name) != arrow_type(column.type)}


def statement(night: Night, frame: Frame, strange: Set[str] = frozenset()) -> str:
    """The SQL: rows of the night, derived columns, and how many rows of the whole table carry each row's key.

    A derived column that is made of a `strange` one is left out: what is expected of it then fails, and nothing else.

    Keys are counted for the night's rows only, so that an old night's millions are read as one column and not grouped.
    """
    table, mine = frame.table, of_night(night, frame.table)
    key = ", ".join(table.key)
    # A key that holds the period can only stand twice within it.
    rivals = mine if table.period or mine == ALL else f"{key} IN (SELECT {key} FROM t WHERE {mine})"
    same_key = " AND ".join(f"t.{column} = c.{column}" for column in table.key)
    columns = [f"{sql} AS {name}" for name, sql in frame.columns.items() if not strange & set(re.findall(r"\w+", sql))]
    return "\n".join(
        [
            f"WITH copies AS (SELECT {key}, count(*) AS n FROM t WHERE {rivals} GROUP BY {key} HAVING count(*) > 1),",
            f"mine AS (SELECT {', '.join(['*', *columns])} FROM t WHERE {mine})",
            f"SELECT t.*, coalesce(c.n, 1) AS {COPIES} FROM mine t LEFT JOIN copies c ON {same_key}",
        ]
    )


def of_night(night: Night, table: Table) -> str:
    """SQL: the rows that the night wrote, or the day, week or month of the night's date; else all."""
    if not table.period and "night" not in table.column_names:
        return ALL
    return f"{table.period or 'night'} = DATE '{table.period_of(night.date)}'"


def _pandas(batches: list[pa.RecordBatch], found: pa.Schema, wanted: pa.Schema) -> pd.DataFrame:
    rows: pd.DataFrame = pa.Table.from_batches(batches, found).cast(wanted).to_pandas(types_mapper=pd.ArrowDtype)
    return rows
