"""One record that holds many events -> a record per event: each has an element in place of the array it stood in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from spark_jobs.readers.python_lines import NoLiteralError, json_ready, parse_literal
from spark_jobs.readers.record import Layout, Record


class NoArrayError(ValueError):
    """A record without the array that `explode` names; the message says what it has."""


def explode(records: Iterator[Record], layout: Layout) -> Iterator[Record]:
    """The records of each record's array; the first one holds its lines. An empty array gives one record with null.

    A record that has no such array is unreadable, and says so.
    """
    assert layout.explode is not None
    path = layout.explode.split(".")
    for text, lines, problem in records:
        if problem:
            yield text, lines, problem
            continue
        try:
            record = _load(text)
            holder = _find_holder(record, path)
            elements = _elements(holder.get(path[-1]), layout)
        except ValueError as error:  # NoArrayError, or a line that is no JSON after all
            yield text, lines, str(error)
            continue
        for element in elements or [None]:
            holder[path[-1]] = element
            yield json.dumps(record, ensure_ascii=False), lines, None
            lines = 0 if lines else lines


def _load(text: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise NoArrayError("its arrays are too deep to be read") from None
    return record


def _find_holder(record: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The object in which the last name of a path stands."""
    for depth, name in enumerate(path[:-1], start=1):
        inner = record.get(name)
        if not isinstance(inner, dict):
            raise NoArrayError(f"explode names {'.'.join(path)}, and {'.'.join(path[:depth])} is {_quote(inner)}")
        record = inner
    return record


def _elements(value: Any, layout: Layout) -> list[Any]:
    if isinstance(value, str) and layout.explode_delimiter:
        return [part for part in value.split(layout.explode_delimiter) if part.strip()]
    if value is None or value == "" or value in layout.null_values:
        return []
    if isinstance(value, str):
        value = _parse_list(value, layout)
    if not isinstance(value, list):
        raise NoArrayError(f"explode names {layout.explode}, which is {_quote(value)}, expected an array")
    return value


def _parse_list(text: str, layout: Layout) -> Any:
    """A list in a text, as JSON or as Python writes it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return json_ready(parse_literal(text))
    except NoLiteralError:
        words = "expected a list; if something stands between its elements, set `explode_delimiter`"
        raise NoArrayError(f"explode names {layout.explode}, which is {_quote(text)}, {words}") from None


def _quote(value: Any) -> str:
    return "empty" if value is None else f"'{str(value)[:100]}'"
