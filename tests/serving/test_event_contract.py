"""contract.py and field_types.py: which events are taken, and what is said of the others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightloom import settings as settings_module
from nightloom.event_journal import Event
from nightloom.lake import now
from serving.events.contract import EventContract, Problem
from serving.events.field_types import expected_value, value_check
from tests.serving.event_senders import config_text, event

DOCS = Path(__file__).parents[2] / "docs"


def contract(folder: Path, text: str = "") -> EventContract:
    file = folder / "nightloom.toml"
    file.write_text(text or config_text(), encoding="utf8")
    settings = settings_module.load(file)
    return EventContract(settings, settings.sources[-1])


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> EventContract:
    """The contract of a source whose columns are fields; a rating is valid from 1 to 5."""
    text = config_text().replace(
        'event = "rating"\n', 'event = "rating"\nvalid = [1, 5]\n\n[[signals]]\nevent = "click"\n'
    )
    return contract(tmp_path_factory.mktemp("contract"), text)


def problem(ratings: EventContract, given: Any) -> Problem:
    found = ratings.read(given)
    assert isinstance(found, Problem), found
    return found


def test_a_good_event_becomes_one_line_with_its_own_fields_and_id(ratings: EventContract) -> None:
    found = ratings.read(event("e\n1", v=5, u="é\u2028", slate=None))
    assert isinstance(found, Event)
    assert (found.source, found.id) == ("ratings", "e\n1")
    assert "\n" not in found.record
    assert json.loads(found.record) == event("e\n1", v=5, u="é\u2028", slate=None)


@pytest.mark.parametrize(
    ("changes", "field", "found", "expected"),
    [
        ({"u": None}, "u", "nothing", "a value: it is the event's user_id"),
        ({"i": ""}, "i", "nothing", "a value: it is the event's item_id"),
        ({"u": " null"}, "u", '" null"', "an id: it is the event's user_id"),
        ({"id": "NaN"}, "id", '"NaN"', "an id: it is the event's event_id"),
        ({"id": "a\0b"}, "id", '"a\\u0000b"', "an id without NUL and without U+FFFD"),
        ({"u": "\ufffdFF"}, "u", '"\\ufffdFF"', "an id without NUL and without U+FFFD"),
        ({"e": "clik"}, "e", '"clik"', "a declared event: click, rating. Did you mean 'click'?"),
        ({"v": 5.5}, "v", "5.5", "a number from 1 to 5, as a rating has"),
        ({"v": None}, "v", "null", "a number from 1 to 5, as a rating has"),
        ({"v": "5"}, "v", '"5"', "a number (double)"),
        ({"pos": 1.5}, "pos", "1.5", "a whole number (int)"),
        ({"pos": True}, "pos", "true", "a whole number (int)"),
        ({"pos": 1 << 31}, "pos", "2147483648", "a whole number (int)"),
        ({"t": "09:30"}, "t", '"09:30"', "a time (timestamp), such as 2026-03-14T09:30:00Z"),
        ({"t": 1710408600}, "t", "1710408600", "a time (timestamp), such as 2026-03-14T09:30:00Z"),
        ({"t": "2024-02-30T00:00:00Z"}, "t", '"2024-02-30T00:00:00Z"', "a time (timestamp), such as"),
        ({"t": "1970-01-01T00:00:00Z"}, "t", '"1970-01-01T00:00:00Z"', "later than 1970-01-01 and at most 60 minutes"),
        (
            {"t": "2999-01-01T00:00:00Z"},
            "t",
            '"2999-01-01T00:00:00Z"',
            "at most 60 minutes ahead of this server's clock",
        ),
        ({"slate": ["x"]}, "slate", '["x"]', "a text (string)"),
        ({"slate": "\ud83d"}, "", "half of a character (a lone surrogate)", "texts of whole characters"),
        ({"slate": "x" * 70_000}, "", "70,0", "at most 65,536"),
        ({"slat": "v1"}, "slat", "an undeclared field", "Did you mean 'slate'?"),
    ],
)
def test_a_bad_event_is_described(
    ratings: EventContract, changes: dict[str, Any], field: str, found: str, expected: str
) -> None:
    described = problem(ratings, event("e1") | {"v": 5} | changes)
    assert described.field == field
    assert described.found.startswith(found)
    assert expected in described.expected


@pytest.mark.parametrize("given", [None, 7, "text", ["list"], True])
def test_what_is_no_object_is_no_event(ratings: EventContract, given: Any) -> None:
    assert problem(ratings, given) == Problem("", json.dumps(given), "a JSON object, one event")


def test_a_clock_may_be_ahead_as_far_as_the_night_allows(ratings: EventContract) -> None:
    for minutes, good in ((55, True), (65, False)):
        moment = (now() + timedelta(minutes=minutes)).isoformat()
        assert isinstance(ratings.read(event("e1", v=1, t=moment)), Event) is good


def test_the_pages_example_takes_impressions_that_a_rule_skips(tmp_path: Path) -> None:
    page = (DOCS / "events.md").read_text(encoding="utf8")
    (example,) = [block.split("```")[0] for block in page.split("```toml\n") if '"feedback"' in block.split("```")[0]]
    start, end = config_text().index("[[sources]]"), config_text().index("[[models]]")
    feedback = contract(tmp_path, config_text()[:start] + example + config_text()[end:])
    sent = {
        "id": "1",
        "user": "u",
        "item": "i",
        "at": "2024-03-14T09:30:00Z",
        "position": 3,
        "slate_version": "v000001",
    }
    assert isinstance(feedback.read(sent | {"kind": "impression"}), Event)
    assert isinstance(feedback.read(sent | {"kind": "click"}), Event)
    assert problem(feedback, sent | {"kind": "clik"}).expected.startswith("a declared event: click, impression")


def test_a_rule_that_decides_by_more_leaves_the_event_to_the_night(tmp_path: Path) -> None:
    rule = 'rules = [{ name = "bots", when = "e = \'x\' AND u LIKE \'bot%\'", then = "skip" }]\n'
    text = config_text().replace("columns = {", f"{rule}columns = {{")
    assert isinstance(contract(tmp_path, text).read(event("e1", e="anything")), Event)


def test_an_expression_is_left_to_the_night(tmp_path: Path) -> None:
    text = config_text().replace('user_id = "u"', 'user_id = "upper(u)"').replace('event = "e"', "event = \"'rating'\"")
    found = contract(tmp_path, text).read({"id": "e1", "i": "i1", "t": "2024-03-14T09:30:00Z"})
    assert isinstance(found, Event)


@pytest.mark.parametrize(
    ("type", "good", "bad"),
    [
        ("string", ["", "x", 7], [1.5, True, [], {}]),
        ("bigint", [0, -(1 << 63)], [1 << 63, 1.0, "1"]),
        ("byte", [-128, 127], [128]),
        ("float", [1, 1.5], ["1", True, 10**400]),
        ("boolean", [True], [0, "true"]),
        ("decimal(5,2)", [123, "123.45", 1.25], [1000, "x", "NaN", True, "1_0", " 1", 999.999e3]),
        ("date", ["2024-02-29"], ["2023-02-29", "20240229", "2024-2-9"]),
        (
            "timestamp",
            ["2024-03-01T10:00:00Z", "2024-03-01 10:00:00", "2024-03-01T10:00:00.123456+02:00"],
            ["2024-03-01", "2024-W10-1T10:00", "10:00", "2024-03-01T25:00:00Z", "2024-03-01T10:00Z"],
        ),
        ("array<string>", [[], ["a", None]], ["a", [1.5]]),
        ("map<string, int>", [{}, {"a": 1}], [{"a": "x"}, []]),
        ("struct<a: int, b: array<double>>", [{}, {"a": 1, "b": [1.5]}], [{"a": "x"}, {"c": 1}, []]),
    ],
)  # fmt: skip
def test_the_values_of_a_type(type: str, good: list[Any], bad: list[Any]) -> None:
    check = value_check(type)
    assert check is not None
    assert [value for value in good if not check(value)] == []
    assert [value for value in bad if check(value)] == []
    assert f"({type})" in expected_value(type)


@pytest.mark.parametrize("type", ["binary", "interval", "array<binary>", "map<int, string>"])
def test_a_type_without_json_values_takes_none(type: str) -> None:
    assert value_check(type) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    given=st.one_of(
        ANYTHING,
        st.fixed_dictionaries({}, optional={name: ANYTHING for name in ("id", "u", "i", "e", "v", "t", "pos", "x")}),
    )
)
def test_whatever_is_sent_is_an_event_or_a_problem_in_words(ratings: EventContract, given: Any) -> None:
    found = ratings.read(given)
    if isinstance(found, Event):
        assert json.loads(found.record) == given
    else:
        assert found.found
        assert found.expected
