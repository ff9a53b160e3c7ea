"""Each suite on real Delta tables: rows that meet it pass, and each failed expectation names the key of its row."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations import night_rows
from expectations.table_suite import COPIES
from expectations.validate import validate
from nightloom import contracts as T
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.settings import load

SUITES = Path(__file__).parents[2] / "expectations" / "suites"
CHECKED = [table for table in T.TABLES if table.layer != "ops"]
NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(hours=1)


def faults(checks: list[Check]) -> dict[str, str]:
    """What failed -> what was found, for one table: `values_to_not_be_null(title)` -> `1 of 2 rows, e.g. ...`."""
    return {
        check.name.split(": ", 1)[1].removeprefix("column_"): check.observed for check in checks if not check.passed
    }


def test_a_row_as_declared_passes_its_suite_whatever_the_table(night: Night, put: Callable[..., None]) -> None:
    for table in CHECKED:
        put(table, {})
    checks = validate(night, CHECKED)
    assert [(check.name, check.passed) for check in checks] == [(f"{t.full_name} as declared", True) for t in CHECKED]
    assert night.reads.keys() == {table.full_name for table in CHECKED}


def test_each_file_of_the_suites_is_of_a_table() -> None:
    names = {f"{table.layer}_{table.name}" for table in T.TABLES}
    assert {file.stem for file in SUITES.glob("[a-z]*.py")} < names


HOLDS = "values_to_be_in_set({}, value_set=[True])"
BROKEN: dict[str, list[tuple[dict[str, Any], str]]] = {
    "gold.user_days": [({"user_id": "a", "events": 0}, HOLDS.format("at_least_one_event"))],
    "gold.daily_activity": [({"by_event": [("rating", 1)]}, HOLDS.format("signals_add_up"))],
    "gold.retention": [({"weeks_since": 1, "users": 1}, HOLDS.format("share_is_of_the_cohort"))],
    "gold.outcomes": [
        ({"segment": "a", "recall": None}, HOLDS.format("mean_exists_with_users")),
        ({"segment": "b", "lists_night": date(1998, 4, 21)}, HOLDS.format("lists_of_previous_night")),
        ({"segment": "c", "hits": 9}, HOLDS.format("hits_within_likes")),
    ],
    "gold.coverage": [({"share_first": 0.7}, HOLDS.format("shares_fit"))],
    "gold.quality_trend": [({"waiting": 2}, HOLDS.format("waiting_among_quarantined"))],
    "bronze.events": [
        ({"row_id": "b" * 64, "source": "catalogue"}, "values_to_be_in_set(source, value_set=[ratings])"),
        ({"row_id": "not a digest"}, HOLDS.format("row_id_is_a_digest")),
    ],
    "quarantine.rows": [
        ({"row_id": "a", "kind": "clicks"}, HOLDS.format("known_kind")),
        ({"row_id": "b", "source": "nobody"}, "values_to_be_in_set(source, value_set=[ratings, catalogue, members])"),
        (
            {"row_id": "c", "reason": "because"},
            "values_to_be_in_set(reason, value_set=[unreadable, missing, type, unknown_event, impossible_value, "
            "clock_ahead, too_late])",
        ),
        ({"row_id": "d", "detail": ""}, HOLDS.format("detail_not_empty")),
        ({"row_id": "e", "state": "lost"}, HOLDS.format("known_state")),
    ],
    "silver.interactions": [
        ({"event_id": "a", "user_id": ""}, HOLDS.format("user_id_not_empty")),
        ({"event_id": "b", "item_id": ""}, HOLDS.format("item_id_not_empty")),
        ({"event_id": "c", "event": "click"}, "values_to_be_in_set(event, value_set=[rating])"),
        (
            {"event_id": "d", "weight": 0.5},
            "values_to_be_in_set(weight, row_condition=event == rating, value_set=[0.0, 1.0])",
        ),
        (
            {"event_id": "e", "value": 6.0},
            "values_to_be_between(value, row_condition=event == rating, min_value=1.0, max_value=5.0)",
        ),
        ({"event_id": "f", "weight": -1.0}, HOLDS.format("weight_not_negative")),
    ],
    "silver.items": [
        ({"item_id": "a", "title": ""}, HOLDS.format("title_not_empty")),
        ({"item_id": "b", "categories": ["drama", None]}, HOLDS.format("categories_have_names")),
    ],
    "silver.unused_rows": [({"row_id": "a", "outcome": "gone"}, HOLDS.format("known_outcome"))],
    "silver.users": [({"user_id": ""}, HOLDS.format("user_id_not_empty"))],
    "gold.histories": [
        ({"user_id": "a", "items": ["i1", "i2"]}, HOLDS.format("one_weight_per_item")),
        (
            {
                "user_id": "b",
                "items": ["i1", "i2"],
                "weights": [1.0, -1.0],
                "at": [NOON, EARLIER],
                "event_ids": ["1", "2"],
            },
            HOLDS.format("oldest_first"),
        ),
    ],
    "gold.item_days": [
        ({"item_id": "a", "users": 3}, HOLDS.format("no_more_users_than_events")),
        ({"item_id": "b", "last_at": EARLIER}, HOLDS.format("first_before_last")),
    ],
    "gold.item_stats": [
        ({"item_id": "a", "events_1d": 3}, HOLDS.format("windows_nested")),
        ({"item_id": "b", "events_28d": 9}, HOLDS.format("windows_within_total")),
        ({"item_id": "d", "popularity": -1.0}, HOLDS.format("popularity_not_negative")),
        ({"item_id": "e", "last_at": EARLIER}, HOLDS.format("first_before_last")),
    ],
    "gold.popular": [
        (
            {"segment": "a", "items": [], "scores": []},
            "values_to_be_between(item_count, min_value=1.0, max_value=30.0)",
        ),
        ({"segment": "b", "scores": [1.0, 2.0]}, HOLDS.format("best_first")),
        ({"segment": "c", "items": ["i1", "i1"]}, HOLDS.format("no_item_twice")),
    ],
    "gold.similar_items": [
        (
            {"item_id": "a", "items": [], "scores": []},
            "values_to_be_between(item_count, min_value=1.0, max_value=30.0)",
        ),
        ({"item_id": "b", "items": ["i1", "i1"]}, HOLDS.format("no_item_twice")),
    ],
    "gold.recommendations": [
        ({"user_id": "a", "model_version": ""}, HOLDS.format("model_version_not_empty")),
        ({"user_id": "b", "scores": [1.0]}, HOLDS.format("one_score_per_item")),
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_reported_with_the_key_of_its_row(
    name: str, night: Night, slip: Callable[..., None]
) -> None:
    table = T.find_table(name)
    slip(table, {}, *(row for row, _ in BROKEN[name]))
    found = faults(validate(night, [table]))
    for row, promise in BROKEN[name]:
        key = next((column for column in table.key if column not in ("night", "week", "day")), table.key[0])
        assert promise in found, (promise, found)
        assert f"{key} {row.get(key, '')}" in found[promise]


PIN = '[[slate.pins]]\nname = "hero"\nitem = "i1"\nplace = 1\n'


def test_a_list_may_be_empty_and_by_slate_rules_need_not_stand_by_score(night: Night, put: Callable[..., None]) -> None:
    put(T.RECOMMENDATIONS, {"scores": [1.0, 2.0]}, {"user_id": "u2", "items": [], "scores": []})
    assert list(faults(validate(night, [T.RECOMMENDATIONS]))) == [HOLDS.format("best_first")]
    night.settings.file.write_text(f"{night.settings.file.read_text()}\n{PIN}")
    configured = replace(night, settings=load(night.settings.file))
    assert faults(validate(configured, [T.RECOMMENDATIONS])) == {}


def test_popular_must_have_a_list_for_everybody(night: Night, put: Callable[..., None]) -> None:
    put(T.POPULAR, {"segment": "occupation=artist"})
    assert list(faults(validate(night, [T.POPULAR]))) == ["distinct_values_to_contain_set(segment, value_set=[all])"]


def test_a_key_that_an_earlier_night_has_too_is_reported(night: Night, put: Callable[..., None]) -> None:
    put(T.INTERACTIONS, {"event_id": "e1", "night": date(1998, 4, 20)}, {"event_id": "e1"}, {"event_id": "e2"})
    found = faults(validate(night, [T.INTERACTIONS]))
    once = "values_to_be_between(rows_with_this_key, min_value=1.0, max_value=1.0)"
    assert found == {once: "1 of 2 rows, e.g. event_id e1, rows_with_this_key 2"}


def test_rows_of_other_nights_are_not_judged(night: Night, put: Callable[..., None]) -> None:
    put(T.INTERACTIONS, {"event_id": "e0", "value": 99.0, "night": date(1998, 4, 22)}, {"event_id": "e1"})
    assert faults(validate(night, [T.INTERACTIONS])) == {}


def test_a_table_that_is_not_as_its_contract_says_is_reported_column_by_column(night: Night) -> None:
    """Made by hand: `title` is a number, `available` is missing, `colour` is nobody's."""
    columns = {"item_id": ["1"], "title": [7], "categories": [["a"]], "attributes": ["none"], "row_id": ["r"]}
    moment = pa.array([NOON], pa.timestamp("us", "UTC"))
    made = pa.table(columns | {"updated_at": moment, "night": [night.date], "colour": ["red"]})
    write_deltalake(night.lake.path(T.ITEMS), made)
    found = faults(validate(night, [T.ITEMS]))
    assert "colour" in found["table_columns_to_match_set"]
    assert found["arrow_type(title, type_=string)"] == "int64"
    assert found["arrow_type(attributes, type_=map<string,string>)"] == "string"
    assert "available" in found["arrow_type(available, type_=boolean)"]
    assert not any("item_id" in name for name in found)


def test_many_rows_are_looked_at_in_slices_and_reported_as_one(
    night: Night, slip: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_rows, "ROWS_PER_FRAME", 1)
    slip(T.USERS, {"user_id": "u1"}, {"user_id": "u2"})
    slip(T.USERS, {"user_id": ""}, {"user_id": "u3"})
    found = faults(validate(night, [T.USERS]))
    assert found == {HOLDS.format("user_id_not_empty"): "1 of 4 rows, e.g. user_id , user_id_not_empty False"}


def test_a_slice_that_has_been_checked_leaves_memory(
    night: Night, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_rows, "ROWS_PER_FRAME", 1)
    for n in range(4):
        put(T.USERS, {"user_id": f"u{n}"})
    alive: list[int] = []

    def counted(*arguments: Any) -> Iterator[pd.DataFrame]:
        for frame in night_rows.frames(*arguments):
            gc.collect()
            alive.append(sum(type(each) is pd.DataFrame and COPIES in each for each in gc.get_objects()))
            yield frame

    monkeypatch.setattr("expectations.validate.frames", counted)
    validate(night, [T.USERS])
    assert len(alive) == 4
    assert max(alive) == 2  # this one, and the one before, which the validating loop still has


def test_a_night_without_rows_is_validated_as_an_empty_frame(night: Night) -> None:
    night.lake.create(T.USERS)
    assert [check.passed for check in validate(night, [T.USERS])] == [True]
