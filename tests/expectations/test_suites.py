"""Each suite on real Delta tables: rows that meet it pass, and each promise that a row breaks is told, with its key."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations import rows
from expectations.validate import validate
from nightloom import tables as T
from nightloom.manifest import Check, Night

WITH_SUITE = [table for table in T.TABLES if table.layer != "ops"]
NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(hours=1)


def faults(checks: list[Check]) -> dict[str, str]:
    """What failed -> what was found, for one table: `values_to_not_be_null(title)` -> `1 of 2 rows, e.g. ...`."""
    return {
        check.name.split(": expect_")[1].removeprefix("column_"): check.observed for check in checks if not check.passed
    }


def test_a_row_as_declared_passes_its_suite_whatever_the_table(night: Night, put: Callable[..., None]) -> None:
    for table in WITH_SUITE:
        put(table, {})
    checks = validate(night, WITH_SUITE)
    assert [(check.name, check.passed) for check in checks] == [
        (f"{t.full_name} as declared", True) for t in WITH_SUITE
    ]
    assert night.reads.keys() == {table.full_name for table in WITH_SUITE}


BROKEN: dict[str, list[tuple[dict[str, Any], str]]] = {
    "bronze.events": [
        ({"row_id": "b" * 64, "source": "catalogue"}, "values_to_be_in_set(source)"),
        ({"row_id": "not a digest"}, "values_to_match_regex(row_id)"),
    ],
    "quarantine.rows": [
        ({"row_id": "a", "kind": "clicks"}, "values_to_be_in_set(kind)"),
        ({"row_id": "b", "source": "nobody"}, "values_to_be_in_set(source)"),
        ({"row_id": "c", "reason": "because"}, "values_to_be_in_set(reason)"),
        ({"row_id": "d", "detail": ""}, "value_lengths_to_be_between(detail)"),
    ],
    "silver.interactions": [
        ({"event_id": "a", "user_id": ""}, "value_lengths_to_be_between(user_id)"),
        ({"event_id": "b", "item_id": ""}, "value_lengths_to_be_between(item_id)"),
        ({"event_id": "c", "event": "click"}, "values_to_be_in_set(event)"),
        ({"event_id": "d", "weight": 0.5}, "values_to_be_in_set(weight)"),
        ({"event_id": "e", "value": 6.0}, "values_to_be_between(value)"),
    ],
    "silver.items": [
        ({"item_id": "a", "title": ""}, "value_lengths_to_be_between(title)"),
        ({"item_id": "b", "categories": ["drama", None]}, "values_to_be_in_set(categories_have_names)"),
    ],
    "silver.users": [({"user_id": ""}, "value_lengths_to_be_between(user_id)")],
    "gold.histories": [
        (
            {"user_id": "a", "items": ["i1", "i2"]},
            "pair_values_to_be_equal(item_count, weight_count)",
        ),
        (
            {
                "user_id": "b",
                "items": ["i1", "i2"],
                "weights": [1.0, -1.0],
                "at": [NOON, EARLIER],
                "event_ids": ["1", "2"],
            },
            "values_to_be_in_set(oldest_first)",
        ),
    ],
    "gold.item_stats": [
        ({"item_id": "a", "events_1d": 3}, "pair_values_a_to_be_greater_than_b(events_7d, events_1d)"),
        ({"item_id": "b", "events_28d": 9}, "pair_values_a_to_be_greater_than_b(events, events_28d)"),
        ({"item_id": "c", "users": 0}, "values_to_be_between(users)"),
        ({"item_id": "d", "popularity": -1.0}, "values_to_be_between(popularity)"),
        ({"item_id": "e", "last_at": EARLIER}, "pair_values_a_to_be_greater_than_b(last_at, first_at)"),
    ],
    "gold.popular": [
        ({"segment": "a", "items": []}, "values_to_be_between(item_count)"),
        ({"segment": "b", "scores": [1.0, 2.0]}, "values_to_be_in_set(best_first)"),
        ({"segment": "c", "items": ["i1", "i1"]}, "pair_values_to_be_equal(item_count, distinct_count)"),
    ],
    "gold.recommendations": [
        ({"user_id": "a", "model_version": ""}, "value_lengths_to_be_between(model_version)"),
        ({"user_id": "b", "scores": [1.0]}, "pair_values_to_be_equal(item_count, score_count)"),
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_told_with_the_key_of_its_row(name: str, night: Night, put: Callable[..., None]) -> None:
    table = T.table(name)
    put(T.HISTORIES) if name == "gold.recommendations" else None
    put(table, {}, *(row for row, _ in BROKEN[name]))
    found = faults(validate(night, [table]))
    for row, promise in BROKEN[name]:
        key = next(column for column in table.key if column != "night")
        assert promise in found, (promise, found)
        assert f"{key} {row.get(key, '')}" in found[promise]


def test_a_list_with_an_item_that_its_reader_has_seen_is_told(night: Night, put: Callable[..., None]) -> None:
    put(T.HISTORIES, {"user_id": "u1", "items": ["i1"]}, {"user_id": "u2", "items": ["i9"]})
    put(T.RECOMMENDATIONS, {"user_id": "u1", "items": ["i1", "i2"]}, {"user_id": "u2", "items": ["i1", "i2"]})
    assert faults(validate(night, [T.RECOMMENDATIONS])) == {
        "values_to_be_between(seen_count)": "1 of 2 rows, e.g. user_id u1, night 1998-04-21, seen_count 1"
    }


def test_popular_must_have_a_list_for_everybody(night: Night, put: Callable[..., None]) -> None:
    put(T.POPULAR, {"segment": "occupation=artist"})
    assert list(faults(validate(night, [T.POPULAR]))) == ["distinct_values_to_contain_set(segment)"]


def test_a_key_that_an_earlier_night_has_too_is_told(night: Night, put: Callable[..., None]) -> None:
    put(T.INTERACTIONS, {"event_id": "e1", "night": date(1998, 4, 20)}, {"event_id": "e1"}, {"event_id": "e2"})
    found = faults(validate(night, [T.INTERACTIONS]))
    assert found == {"values_to_be_between(rows_with_this_key)": "1 of 2 rows, e.g. event_id e1, rows_with_this_key 2"}


def test_rows_of_other_nights_are_not_judged(night: Night, put: Callable[..., None]) -> None:
    put(T.INTERACTIONS, {"event_id": "e0", "value": 99.0, "night": date(1998, 4, 22)}, {"event_id": "e1"})
    assert faults(validate(night, [T.INTERACTIONS])) == {}


def test_a_table_that_is_not_as_its_contract_says_is_told_column_by_column(night: Night) -> None:
    """Made by hand: `title` is a number, `available` is missing, `colour` is nobody's."""
    columns = {"item_id": ["1"], "title": [7], "categories": [["a"]], "attributes": ["none"], "row_id": ["r"]}
    moment = pa.array([NOON], pa.timestamp("us", "UTC"))
    made = pa.table(columns | {"updated_at": moment, "night": [night.date], "colour": ["red"]})
    write_deltalake(night.lake.path(T.ITEMS), made)
    found = faults(validate(night, [T.ITEMS]))
    assert "colour" in found["table_columns_to_match_set"]
    assert found["arrow_type(title)"] == "int64"
    assert found["arrow_type(attributes)"] == "string"
    assert "available" in found["arrow_type(available)"]
    assert not any("item_id" in name for name in found)


def test_many_rows_are_looked_at_in_slices_and_reported_as_one(
    night: Night, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 1)
    put(T.USERS, {"user_id": "u1"}, {"user_id": "u2"})
    put(T.USERS, {"user_id": ""}, {"user_id": "u3"})
    found = faults(validate(night, [T.USERS]))
    assert found == {"value_lengths_to_be_between(user_id)": "1 of 4 rows, e.g. user_id "}


def test_a_night_without_rows_is_validated_as_an_empty_frame(night: Night) -> None:
    night.lake.create(T.USERS)
    assert [check.passed for check in validate(night, [T.USERS])] == [True]
