"""Table names and parameters in a statement: found where they are names, left alone in strings and comments."""

from nightloom.contracts import TABLES
from nightloom.sql.names import nearest, with_views


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


def test_the_nearest_name_is_told_or_all_names() -> None:
    assert nearest("silver.itmes", TABLES) == "did you mean silver.items?"
    assert nearest("items", TABLES) == "did you mean bronze.items or silver.items?"
    assert nearest("zzz", TABLES).startswith("the tables are bronze.events, ")
