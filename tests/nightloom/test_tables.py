"""The contracts themselves: complete, consistent, and usable by everything that derives from them."""

import re
from dataclasses import replace
from datetime import date

import pytest

from nightloom.contracts import HISTORIES, TABLES, Table, find_table
from nightloom.lake import arrow_schema

EACH = pytest.mark.parametrize("each", TABLES, ids=lambda each: each.full_name)


def test_names_are_unique_and_find_their_table() -> None:
    assert len({each.full_name for each in TABLES}) == len(TABLES)
    assert find_table("silver.items").grain.startswith("One row per item")
    with pytest.raises(KeyError):
        find_table("silver.itmes")


@EACH
def test_key_and_partition_are_required_columns(each: Table) -> None:
    required = {column.name for column in each.columns if column.required}
    assert {*each.key, *([each.partition] if each.partition else [])} <= required


@EACH
def test_grain_and_comments_are_there_and_names_are_plain(each: Table) -> None:
    assert re.match(r"([A-Z][\w ]+: o|O)ne row per ", each.grain)
    assert each.grain.endswith(".")
    assert len(set(each.column_names)) == len(each.columns)
    for column in each.columns:
        assert column.comment, column.name
        assert re.fullmatch("[a-z][a-z0-9_]*", column.name)


@EACH
def test_every_type_has_an_arrow_type(each: Table) -> None:
    assert arrow_schema(each).names == list(each.column_names)


@EACH
def test_a_table_rebuilt_by_a_period_has_it_in_its_key(each: Table) -> None:
    assert each.period is None or (each.period in each.key and each.layer == "gold")


def test_a_period_is_named_by_its_first_day() -> None:
    days = [date(2024, 1, 1), date(2024, 2, 29), date(2024, 3, 3)]  # a Monday, a Thursday, a Sunday
    assert [HISTORIES.period_of(day) for day in days] == [days[0], date(2024, 2, 26), date(2024, 2, 26)]
    assert [replace(HISTORIES, period="month").period_of(day).day for day in days] == [1, 1, 1]
    assert [replace(HISTORIES, period="day").period_of(day) for day in days] == days


def test_columns_that_name_a_user_are_personal_and_only_engineers_read_raw_records() -> None:
    for each in TABLES:
        for column in each.columns:
            assert column.personal or column.name not in {"user_id", "raw"}, f"{each.full_name}.{column.name}"
        assert (each.readers == ("engineer",)) == ("raw" in each.column_names)
