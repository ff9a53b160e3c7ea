"""docs/sql.md: its questions are answered; Spark SQL, DuckDB, Polars and pandas read the same rows of every table."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from nightloom.contracts import Table
from nightloom.sql.marts import all_tables
from nightloom.sql.query import Catalog, run_query
from spark_jobs.session import with_tables
from tests.spark_jobs.small_project import Project

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf8")
QUESTIONS = dict(re.findall(r"^### (\d+\..*?)\n\n```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def test_there_are_ten_questions() -> None:
    assert [int(question.split(".")[0]) for question in QUESTIONS] == list(range(1, 11))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_of_the_page_has_an_answer(question: str, lake: Project) -> None:
    answer = run_query(Catalog.from_settings(lake.settings), QUESTIONS[question])
    assert list(answer.rows), question


def test_the_busiest_user_is_found_with_their_events_and_their_list(lake: Project) -> None:
    (statement,) = (sql for title, sql in QUESTIONS.items() if title.startswith("10."))
    found = list(run_query(Catalog.from_settings(lake.settings), statement).rows)
    assert [(row[0], row[3]) for row in found if row[0] == "is shown"] == [("is shown", i) for i in ("i4", "i6", "i5")]
    assert sorted(row[3] for row in found if row[0] == "did") == ["i2", "i3", "i4", "i5"]


def plain(value: Any) -> Any:
    """A value in Python's own types, equal for every reader."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict) and value.keys() == {"key", "value"}:  # Polars reads a map as a list of such
        return [plain(value["key"]), plain(value["value"])]
    if isinstance(value, dict):
        return sorted([plain(key), plain(each)] for key, each in value.items())
    if isinstance(value, datetime):
        moment = value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
        return moment.astimezone(UTC).isoformat()  # Spark hands out local time without its zone
    if isinstance(value, date):
        return value.isoformat()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else float(value) if isinstance(value, Decimal) else value


def comparable_rows(names: list[str], rows: Any) -> list[str]:
    """Rows as sorted texts; a map's pairs are sorted, for it has no order."""
    return sorted(repr([plain(value) for _, value in sorted(zip(names, row, strict=True))]) for row in rows)


def by_spark(at: Project, table: Table) -> list[str]:
    spark = with_tables(at.spark, at.settings)
    found = spark.sql(f"SELECT * FROM {table.full_name}")
    return comparable_rows(found.columns, found.collect())


def by_duckdb(at: Project, table: Table) -> list[str]:
    data = DeltaTable(at.night().lake.path(table)).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.register("t", data).execute("SELECT * FROM t")
        return comparable_rows([column[0] for column in found.description], found.fetchall())


def by_polars(at: Project, table: Table) -> list[str]:
    found = pl.scan_delta(at.night().lake.path(table)).collect()
    return comparable_rows(found.columns, found.iter_rows())


def by_pandas(at: Project, table: Table) -> list[str]:
    query = QueryBuilder().register("t", DeltaTable(at.night().lake.path(table)))
    found = pa.table(query.execute("SELECT * FROM t").read_all()).to_pandas(types_mapper=pd.ArrowDtype)
    return comparable_rows(list(found.columns), found.itertuples(index=False, name=None))


def test_spark_duckdb_polars_and_pandas_read_the_same_rows_of_every_table(lake: Project) -> None:
    known = [table for table in all_tables(lake.settings) if table.layer in ("silver", "gold")]
    for table in known:
        readers: list[Callable[[Project, Table], list[str]]] = [by_spark, by_duckdb, by_polars, by_pandas]
        first, *others = (reader(lake, table) for reader in readers)
        assert first, table.full_name
        for rows in others:
            assert rows == first, table.full_name
