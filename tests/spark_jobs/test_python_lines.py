"""python_lines.py: Python dicts as records; nothing in them is executed, and nothing of them takes the process down."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_jobs.readers.python_lines import MAX_LITERAL, NoLiteralError, parse_literal
from tests.spark_jobs.landing_records import Read, good, problems


def test_dicts_as_python_prints_them_are_records(read: Read) -> None:
    lines = [
        {"user": "u1", "ok": True, "none": None, "n": -1.5e3, "items": [{"id": 1}, {"id": 2}], "t": (1, 2)},
        {"user": 'say "hi" it\'s', "nested": {"a": {1: "x"}}, "set": {3}, "bytes": b"ab"},
    ]
    found = read("\r\n".join(map(repr, lines)) + "\n\n{u'user': u'caf\\xe9', 'x': nan}\n", "python")
    assert good(found) == [
        {"user": "u1", "ok": True, "none": None, "n": -1500.0, "items": [{"id": 1}, {"id": 2}], "t": [1, 2]},
        {"user": 'say "hi" it\'s', "nested": {"a": {"1": "x"}}, "set": [3], "bytes": "ab"},
        {"user": "café", "x": None},
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{'a': open('x')}", "it has 'open('x')}', which is no part of a Python literal"),
        ("{'a': None()}", "it is no Python literal"),
        ("{'a': 1 + 2}", "it has '+ 2}'"),
        ("{'a': [x for x in 'b']}", "it has 'x for x in 'b']}'"),
        ("{'a': f'{1}'}", "it has 'f'{1}'}'"),
        ("{'a': 1", "'{' was never closed"),
        ("{'a': 1e999}", "Out of range float values"),
        ("['a']", "it is no Python dict"),
        ("{[]: 1}", "unhashable"),
        ("[" * 5_000, "too many nested parentheses"),
        ("{'a': " + "-" * 100_000 + "1}", "which is no part of a Python literal"),
        ("{'a': '" + "x" * MAX_LITERAL + "'}", "expected at most 1,048,576"),
    ],
)
def test_a_line_that_is_more_than_a_literal_is_kept_with_the_reason(line: str, problem: str, read: Read) -> None:
    found = read(f"{{'a': 0}}\n{line}\n{{'a': 1}}\n", "python")
    assert good(found) == [{"a": 0}, {"a": 1}]
    (words,) = problems(found)
    assert problem in words


def test_half_characters_are_joined_or_marked(read: Read) -> None:
    found = good(read(r"""{'a': u'\ud83d\ude00', 'b': u'\ud83d', 'c': '\d'}""", "python"))
    assert found == [{"a": "\U0001f600", "b": "\ufffd3D\ufffdD8", "c": "\\d"}]


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUE)
def test_every_value_that_python_prints_is_read_back(value: object) -> None:
    assert parse_literal(repr(value)) == value


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("{}[]()',\":\\u0123456789abcnoNeTru+-.* \n", max_size=40))
def test_any_text_is_a_value_or_no_literal(text: str) -> None:
    with suppress(NoLiteralError):
        assert isinstance(parse_literal(text), str | int | float | bytes | list | tuple | dict | set | None)
