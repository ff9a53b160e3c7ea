"""An error in a mart's SQL -> one line that names the mart, the line to mend, and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from nightloom.contracts import Table
from nightloom.errors import NightloomError
from nightloom.section import suggest_key
from nightloom.sql.marts import Mart
from nightloom.sql.names import SPARK, nearest, tables_in, view


class MartError(NightloomError):
    """A mart cannot be built: its SQL is wrong, or its rows do not fit its contract."""


def check_mart_columns(rows: DataFrame, mart: Mart) -> DataFrame:
    """The unchanged rows, if they have the contract's columns. Raises MartError that names each wrong column."""
    found = dict(rows.dtypes)
    declared = {c.name: c.type for c in mart.table.columns if (c.name, mart.table.period) != ("night", "night")}
    faults = [
        f"{name} is {found[name]}, declared {type}"
        if name in found
        else f"{name} is not among them{suggest_key(name, found)}"
        for name, type in declared.items()
        if found.get(name) != type
    ]
    faults += [f"{name} is not declared{suggest_key(name, declared)}" for name in found if name not in declared]
    if faults:
        raise MartError(f"{mart.location()}: its SELECT gives other columns than declared: {'; '.join(faults)}")
    return rows


def format_error(error: NightloomError | PySparkException, mart: Mart, tables: Sequence[Table]) -> str:
    """One error as `nightloom.toml, line N: mart gold.NAME: what, and the nearest name`."""
    if isinstance(error, MartError):
        return str(error)
    if isinstance(error, NightloomError):
        return f"{mart.location()}: {error}"
    words = str(error)  # getMessage() leaves the place in the statement out
    for table in tables:
        words = words.replace(view(table), table.full_name)
    line = re.search(r"line (\d+),? pos", words)
    return f"{mart.location(int(line[1]) if line else 1)}: {_describe_error(words, mart, tables)}"


def _describe_error(words: str, mart: Mart, tables: Sequence[Table]) -> str:
    """The fault: an unknown table or column with the nearest name, or Spark's message without its plan."""
    if missing := re.search(r"\[TABLE_OR_VIEW_NOT_FOUND\] The table or view (\S+) cannot", words):
        name = missing[1].replace("`", "")
        return f"no table {name} in the lake; {nearest(name, tables)}"
    if missing := re.search(r"\[UNRESOLVED_COLUMN.*?with name (\S+) cannot", words):
        name = missing[1].replace("`", "").rpartition(".")[2]
        known = {column for table in tables_in(mart.sql, tables, SPARK) for column in table.column_names}
        return f"no column {name}{suggest_key(name, known)}"
    return " ".join(re.split(r"; line \d|\n\n|\n==|;\n'", words)[0].split())
