"""A contract for Spark: the statement that creates its table, and the check that a frame fits it."""

from __future__ import annotations

from pyspark.sql import DataFrame

from nightloom.contracts import Table
from nightloom.errors import DataError
from nightloom.lake import properties
from nightloom.literals import spark_name, spark_text


def create_table(table: Table, path: str) -> str:
    """The CREATE TABLE statement, with comments, partition and properties."""
    columns = (
        f"{spark_name(column.name)} {column.type}{' NOT NULL' if column.required else ''} "
        f"COMMENT {spark_text(column.comment)}"
        for column in table.columns
    )
    partition = f"PARTITIONED BY ({table.partition})" if table.partition else ""
    pairs = ", ".join(f"{spark_text(name)} = {spark_text(value)}" for name, value in properties(table).items())
    return (
        f"CREATE TABLE IF NOT EXISTS delta.{spark_name(path)} ({', '.join(columns)}) USING delta {partition} "
        f"COMMENT {spark_text(table.grain)} TBLPROPERTIES ({pairs})"
    )


def check_contract(table: Table, rows: DataFrame) -> None:
    """Raises DataError unless the frame has the contract's columns, by name and type."""
    found, expected = dict(rows.dtypes), {column.name: column.type for column in table.columns}
    if wrong := {name: found.get(name, "nothing") for name, type in expected.items() if found.get(name) != type}:
        differences = "; ".join(f"{name} is {type}, expected {expected[name]}" for name, type in wrong.items())
        raise DataError(f"{table.full_name}: the stage's rows do not fit the contract: {differences}")
