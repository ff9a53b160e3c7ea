"""Table names and parameters in a statement: found where they are names, left alone in strings and comments."""

import pytest

from nightloom.contracts import TABLES
from nightloom.sql.marts import MARTS
from nightloom.sql.names import DUCKDB, SPARK, nearest, tables_in, with_views


def viewed(statement: str) -> str:
    return with_views(statement, TABLES, {"k": "10", "night": "DATE '2024-03-01'"})


def test_a_tables_name_becomes_its_views_however_it_is_written() -> None:
    assert viewed("FROM silver.items i, `gold`.`popular`, Silver . ITEMS") == (
        "FROM silver__items i, gold__popular, silver__items"
    )
    assert (
        viewed("SELECT silver.items.title FROM silver.items_old") == "SELECT silver__items.title FROM silver.items_old"
    )


def test_strings_and_comments_are_left_alone() -> None:
    text = "SELECT 'it''s silver.items :k', 'a\\'silver.items' -- gold.popular :k\n/* silver.items\n:k */"
    assert viewed(text) == text


def test_a_parameter_becomes_its_value_and_a_cast_stays_a_cast() -> None:
    assert viewed("x <= :k AND day = :night") == "x <= 10 AND day = DATE '2024-03-01'"
    assert viewed("x::k, a[1]:k, f(x):k, :other") == "x::k, a[1]:k, f(x):k, :other"


def test_the_nearest_name_is_named_or_all_names() -> None:
    assert nearest("silver.itmes", TABLES) == "did you mean silver.items?"
    assert nearest("items", TABLES) == "did you mean bronze.items or silver.items?"
    assert nearest("zzz", TABLES).startswith("the tables are bronze.events, ")


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        (DUCKDB, "EXPLAIN ANALYZE SELECT * FROM silver.items"),
        (DUCKDB, "SUMMARIZE silver.items"),
        (DUCKDB, "FROM silver.items SELECT title"),
        (DUCKDB, "SELECT 'a\\', title FROM silver.items -- gold.popular"),
        (DUCKDB, 'SELECT $$gold.popular$$, $t$gold.popular\'s$t$ FROM "silver".items'),
        (DUCKDB, "SELECT E'it\\'s gold.popular' FROM silver.items"),
        (DUCKDB, "PIVOT silver.items ON title USING count(*)"),
        (DUCKDB, "SELECT x.gold.popular FROM silver.items"),
        (DUCKDB, "SELECT title FROM silver.items WHERE title = 'not ended"),
        (SPARK, "SELECT r'gold.popular\\', title FROM silver.items"),
        (SPARK, "SELECT 'a\\'gold.popular', \"gold.popular\" FROM `silver`.items"),
        (
            SPARK,
            "SELECT /*+ BROADCAST(i) */ transform(a, c -> c) FROM silver.items i LATERAL VIEW explode(x) y",
        ),
    ],
)
def test_a_name_is_found_in_every_kind_of_statement(dialect: str, statement: str) -> None:
    assert [table.full_name for table in tables_in(statement, TABLES, dialect)] == ["silver.items"]


def test_our_own_marts_name_tables_and_no_name_is_left_after_the_views() -> None:
    for mart in MARTS:
        assert tables_in(mart.sql, TABLES, SPARK)
        replaced = with_views(mart.sql, TABLES, {"k": "10", "stored": "20", "night": "DATE '2024-03-01'"})
        assert tables_in(replaced, TABLES, SPARK) == []
        assert ":" not in replaced
