"""The SQL of every kind of slate rule over hostile texts as ids, values, categories and names of attributes."""

from collections.abc import Iterator
from datetime import date

import duckdb
import pyarrow as pa
import pytest

from nightloom.literals import sql_name, sql_text
from nightloom.slate.checks import FewMissed, NoRows
from nightloom.slate.conditions import find_wrong_conditions
from nightloom.slate.rule import SlateRule
from nightloom.slate.rules.boost import Boost
from nightloom.slate.rules.cap import Cap
from nightloom.slate.rules.filter import Filter
from nightloom.slate.rules.floor import Floor
from nightloom.slate.rules.pin import Pin
from nightloom.slate.rules.promotion import Promotion
from nightloom.slate.settings import Slate
from tests.hostile import OF_ITEMS, TEXTS

NIGHT, K = date(2024, 3, 1), 1
WHOLE = [text for text in TEXTS if "," not in text and text == text.strip(" ")]
"""Texts that are one value of an attribute whose values commas separate."""


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    """User T is shown item T of category T and attribute T, for each text T."""
    texts = pa.array(TEXTS)
    lists = pa.array([[text] for text in TEXTS])
    attributes = pa.array([[(OF_ITEMS, text)] for text in TEXTS], pa.map_(pa.string(), pa.string()))
    tables = {
        "lists": {"user_id": texts, "items": lists},
        "popular": {"items": lists.slice(0, 0)},
        "histories": {"user_id": texts, "items": pa.array([[]] * len(TEXTS), pa.list_(pa.string()))},
        "people": {"user_id": texts, "attributes": attributes},
        "described": {"item_id": texts, "categories": lists, OF_ITEMS: texts},
    }
    with duckdb.connect() as connection:
        for name, columns in tables.items():
            connection.register(f"_{name}", pa.table(columns))
            connection.execute(f"CREATE TABLE {name} AS FROM _{name}")
        yield connection


def found(db: duckdb.DuckDBPyConnection, rule: SlateRule) -> tuple[int, ...]:
    """(number of broken entries), or (number of pages, pages that lack a place)."""
    check = rule.check(K, NIGHT)
    assert isinstance(check, NoRows | FewMissed)
    sql = f"SELECT count(*) FROM ({check.sql})" if isinstance(check, NoRows) else check.sql
    (row,) = db.sql(sql).fetchall()
    return tuple(row)


@pytest.mark.parametrize("text", TEXTS)
def test_a_check_tells_the_users_and_items_of_a_text_from_all_others(text: str, db: duckdb.DuckDBPyConnection) -> None:
    own = {"users": {OF_ITEMS: text}}
    when = f"{sql_name(OF_ITEMS)} = {sql_text(text)} AND {sql_text(text)} IN categories"
    assert found(db, Pin(name="p", item=text, place=1, **own)) == (1, 0)
    assert found(db, Pin(name="p", item=f"{text}.", place=1, **own)) == (1, 1)
    assert found(db, Pin(name="p", item=text, place=1)) == (len(TEXTS), len(TEXTS) - 1)
    assert found(db, Promotion(name="p", when=when, share=1, **own)) == (1, 0)
    assert found(db, Floor(name="f", when=when, at_least=1)) == (len(TEXTS), len(TEXTS) - 1)
    assert found(db, Filter(name="f", when=when)) == (len(TEXTS) - 1,)
    assert found(db, Cap(name="c", by=OF_ITEMS, when=when, at_most=1)) == (0,)


def test_attributes_of_items_and_of_users_are_compared_by_any_name(db: duckdb.DuckDBPyConnection) -> None:
    assert found(db, Filter(name="f", item=OF_ITEMS, user=OF_ITEMS)) == (len(TEXTS) - len(WHOLE),)
    assert found(db, Filter(name="f", item=OF_ITEMS, user=OF_ITEMS, compare="at_most")) == (0,)


def test_conditions_over_any_name_are_bound_at_load() -> None:
    named = Boost(name="b", add=1, when=f"{sql_name(OF_ITEMS)} = {sql_text(TEXTS[0])}")
    other = Boost(name="c", add=1, when=sql_name(f"{OF_ITEMS}."))
    wrong = list(find_wrong_conditions(Slate.model_validate({"boosts": (named, other)}), {OF_ITEMS: "string"}))
    assert [where for where, _ in wrong] == [("slate", "boosts", 1, "when")]
