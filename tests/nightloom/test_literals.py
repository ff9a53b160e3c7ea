"""Texts in SQL: any text comes back as it went in, through DuckDB and DataFusion, and alone meets its condition."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from nightloom.lake import Lake
from nightloom.literals import one_of, sql_text

TEXTS = [
    "o'brien",
    "a\\b",
    "a\\'b",
    "ends\\",
    "''",
    "",
    'say "hi"',
    "two\nlines",
    "100%",
    "; DROP TABLE",
    "🌙",
    "$1 :k",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_the_same_in_duckdb_and_in_datafusion(text: str, tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"user_id": TEXTS}))
    with duckdb.connect() as db:
        assert db.execute(f"SELECT {sql_text(text)}").fetchall() == [(text,)]
    found = Lake(tmp_path).query(f"SELECT * FROM t WHERE user_id = {sql_text(text)}", ("t", DeltaTable(tmp_path)))
    assert found["user_id"].to_pylist() == [text]


def test_one_of_meets_each_of_its_texts_and_nothing_where_there_are_none(tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"user_id": [*TEXTS, "another"]}))

    def found(*texts: str) -> list[str]:
        sql = f"SELECT * FROM t WHERE {one_of('user_id', texts)}"
        return list(Lake(tmp_path).query(sql, ("t", DeltaTable(tmp_path)))["user_id"].to_pylist())

    assert found(*TEXTS) == TEXTS
    assert found() == []


@pytest.mark.parametrize("text", TEXTS)
def test_a_delta_table_deletes_and_replaces_by_a_text(text: str, tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"user_id": TEXTS}))
    DeltaTable(tmp_path).delete(f"user_id = {sql_text(text)}")
    assert sorted(DeltaTable(tmp_path).to_pyarrow_table()["user_id"].to_pylist()) == sorted(set(TEXTS) - {text})
