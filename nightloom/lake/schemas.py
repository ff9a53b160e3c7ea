"""A table's contract -> its Arrow schema, its Delta schema and its Delta properties; rows -> Arrow, checked by it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import Field, Schema
from deltalake.schema import ArrayType, MapType, PrimitiveType

from nightloom.contracts import Column, Table
from nightloom.errors import DataError

PRIMITIVES = {
    "string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "double": pa.float64(), "float": pa.float32(),
    "boolean": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip
"""Spark DDL name -> Arrow type."""
DELTA_NAMES = {"bigint": "long", "int": "integer"}
"""Spark DDL name -> Delta's, where they differ."""
PROPERTIES = {
    "delta.enableChangeDataFeed": "true",
    # The log is shortened by the maintenance alone: it knows which versions are still needed, a writer does not.
    "delta.enableExpiredLogCleanup": "false",
    # DuckDB reads files by itself (Lake.files): it would see rows that were deleted, and columns by other names.
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
}
"""Properties of every table."""


def properties(table: Table) -> dict[str, str]:
    """Delta properties of a new table; each check of the contract is one."""
    return PROPERTIES | {f"delta.constraints.{name}": condition for name, condition in table.checks}


def arrow(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows -> Arrow by the contract; a row may lack a column that may be null.

    Raises DataError when a required column is missing or null, a column is unknown, or a value of another type.
    """
    needed = {column.name for column in table.columns if column.required}
    for row in rows:
        if not needed <= row.keys() <= set(table.column_names):
            found, expected = sorted(row.keys()), sorted(table.column_names)
            raise DataError(f"{table.full_name}: a row has columns {found}, expected {expected}")
    try:
        data = pa.Table.from_pylist(list(rows), schema=arrow_schema(table))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{table.full_name}: a row does not fit the contract: {error}") from None
    if empty := [column.name for column in table.columns if column.required and data[column.name].null_count]:
        raise DataError(f"{table.full_name}: a row has no {', no '.join(empty)}; the contract requires one")
    return data


def arrow_schema(table: Table) -> pa.Schema:
    """The contract as an Arrow schema."""
    return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=not c.required) for c in table.columns])


def arrow_type(ddl: str) -> pa.DataType:
    """`array<string>`, `map<string,bigint>` or a primitive's Spark DDL name -> Arrow type."""
    if nested := re.fullmatch(r"array<(\w+)>", ddl):
        return pa.list_(PRIMITIVES[nested[1]])
    if nested := re.fullmatch(r"map<(\w+),(\w+)>", ddl):
        return pa.map_(PRIMITIVES[nested[1]], PRIMITIVES[nested[2]])
    return PRIMITIVES[ddl]


def delta_schema(table: Table) -> Schema:
    """The contract as a Delta schema, comments included."""
    return Schema([_delta_field(column) for column in table.columns])


def _delta_field(column: Column) -> Field:
    comment = {"comment": column.comment}
    return Field(column.name, _delta_type(column.type), nullable=not column.required, metadata=comment)


def _delta_type(ddl: str) -> Any:
    if nested := re.fullmatch(r"array<(\w+)>", ddl):
        return ArrayType(_delta_type(nested[1]), contains_null=True)
    if nested := re.fullmatch(r"map<(\w+),(\w+)>", ddl):
        return MapType(_delta_type(nested[1]), _delta_type(nested[2]), value_contains_null=True)
    return PrimitiveType(DELTA_NAMES.get(ddl, ddl))
