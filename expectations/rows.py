"""A night's rows of one table, read from Delta through Arrow -> pandas frames of bounded size for a suite to look at.

Only the night's rows come into memory, ROWS_AT_ONCE at a time. What needs the whole table (is the key unique?) is asked
by SQL inside the same statement, and comes along as one more column.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
from deltalake import QueryBuilder

from expectations.contract import COPIES, Frame, plain
from nightloom.manifest import Night

ROWS_AT_ONCE = 500_000


def frames(night: Night, frame: Frame) -> Iterator[pd.DataFrame]:
    """The night's rows with the derived columns, in slices; one empty slice when there are none.

    Columns keep their Arrow types (pandas' ArrowDtype): lists and maps cost no copy, and a type can be checked exactly.
    """
    builder = QueryBuilder().register("t", night.lake.open(frame.table, night.pin(frame.table)))
    if frame.beside:
        builder = builder.register("b", night.lake.open(frame.beside[0], night.pin(frame.beside[0])))
    reader = pa.RecordBatchReader.from_stream(builder.execute(statement(night, frame)))
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


def statement(night: Night, frame: Frame) -> str:
    """The SQL: rows of the night, derived columns, and how many rows of the whole table carry each row's key.

    Keys are counted for the night's rows only, so that an old night's millions are read as one column and not grouped.
    """
    table, that_night = frame.table, f"night = DATE '{night.date}'"
    key = ", ".join(table.key)
    mine = that_night if "night" in table.key else f"{key} IN (SELECT {key} FROM t WHERE {that_night})"
    same_key = " AND ".join(f"t.{column} = c.{column}" for column in table.key)
    columns = [f"{sql} AS {name}" for name, sql in frame.derived.items()]
    return "\n".join(
        [
            f"WITH copies AS (SELECT {key}, count(*) AS n FROM t WHERE {mine} GROUP BY {key} HAVING count(*) > 1)",
            f"SELECT {', '.join(['t.*', *columns, f'coalesce(c.n, 1) AS {COPIES}'])}",
            f"FROM t LEFT JOIN copies c ON {same_key}",
            f"LEFT JOIN b ON {frame.beside[1]}" if frame.beside else "",
            f"WHERE t.{that_night}",
        ]
    )


def _pandas(batches: list[pa.RecordBatch], found: pa.Schema, wanted: pa.Schema) -> pd.DataFrame:
    rows: pd.DataFrame = pa.Table.from_batches(batches, found).cast(wanted).to_pandas(types_mapper=pd.ArrowDtype)
    return rows
