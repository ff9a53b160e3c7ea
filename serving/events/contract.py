"""A source's contract -> the check of one event: what would go to quarantine tonight is refused now, with a reason.

Fields have their declared types. A column that is a field by itself, and not an expression, is checked by its meaning:
ids and the event are there, the event is declared, its value is valid, its time is possible. What an expression makes
of several fields only the night can tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from nightloom.event_journal import Event
from nightloom.section import join_names, suggest_key
from nightloom.settings import Settings, Source
from nightloom.settings.row_rules import RowRule
from nightloom.values import now
from serving.events.field_types import Check, expected_value, parse_moment, value_check
from serving.events.interactions import InteractionReader

MAX_RECORD = 65_536
"""Characters of one event."""
MAX_QUOTED = 200
NO_TEXT = re.compile("[\ud800-\udfff]")
"""Halves of a character, which no text can hold."""
NO_ID = re.compile("[\0\ufffd]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Problem(NamedTuple):
    """What is wrong with an event."""

    field: str
    """Empty where it is the event as a whole."""
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{f'field {self.field}: ' if self.field else ''}found {self.found}, expected {self.expected}"


class EventContract:
    """The checks of one source."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.source = source
        self._settings = settings
        self._checks: dict[str, Check | None] = {name: value_check(type) for name, type in source.fields.items()}

    def read(self, event: object) -> Event | Problem:
        """The event as the landing file has it, or the first thing that is wrong."""
        if not isinstance(event, dict):
            return Problem("", _quoted(event), "a JSON object, one event")
        problem = next(self._problems(event), None)
        if problem is not None:
            return problem
        record = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if len(record) > MAX_RECORD:
            return Problem("", f"{len(record):,} characters", f"at most {MAX_RECORD:,}")
        if NO_TEXT.search(record):
            return Problem("", "half of a character (a lone surrogate)", "texts of whole characters")
        return Event(self.source.name, str(event[self.columns["event_id"]]), record, self.interactions.user(event))

    @cached_property
    def interactions(self) -> InteractionReader:
        """What its events say of users' tastes."""
        return InteractionReader(self._settings, self.source, self.columns, self._events_of_rules)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Our column -> the field that it is, for columns that are no further expression."""
        by_name = {name.lower(): name for name in self.source.fields}
        plain = {column: sql.strip().strip("`").lower() for column, sql in self.source.columns.items()}
        return {column: by_name[sql] for column, sql in plain.items() if sql in by_name}

    def _problems(self, event: dict[str, Any]) -> Iterator[Problem]:
        fields = self.source.fields
        for name, value in event.items():
            if name not in fields:
                known = f"one of the source's fields {join_names(fields)}{suggest_key(name, fields)}"
                yield Problem(name[:MAX_QUOTED], "an undeclared field", known)
            elif value is not None and not ((check := self._checks[name]) and check(value)):
                yield Problem(name, _quoted(value), expected_value(fields[name]))
        for column in ("event_id", "user_id", "item_id", "event", "occurred_at"):
            if (field := self.columns.get(column)) is not None and event.get(field) in (None, ""):
                yield Problem(field, "nothing", f"a value: it is the event's {column}")
        for column in ("event_id", "user_id", "item_id"):
            field = self.columns.get(column)
            if field is not None and self.source.ids.normalize(str(event[field])) is None:
                yield Problem(field, _quoted(event[field]), f"an id: it is the event's {column}")
            if field is not None and NO_ID.search(str(event[field])):
                yield Problem(field, _quoted(event[field]), "an id without NUL and without U+FFFD")
        yield from self._problems_of_meaning(event)

    def _problems_of_meaning(self, event: dict[str, Any]) -> Iterator[Problem]:
        if (field := self.columns.get("event")) is not None and self._events is not None:
            kind = str(event[field])
            if kind not in self._events:
                known = f"a declared event: {join_names(self._events)}{suggest_key(kind, self._events)}"
                yield Problem(field, _quoted(event[field]), known)
            yield from self._problems_of_value(event, kind)
        if (field := self.columns.get("occurred_at")) is not None:
            moment = parse_moment(event[field])
            ahead = self._settings.clock_ahead
            if moment is None and self.source.fields[field].strip().lower() == "string":
                yield Problem(field, _quoted(event[field]), expected_value("timestamp"))
            if moment is not None and not EPOCH < moment <= now() + ahead:
                latest = f"later than 1970-01-01 and at most {_minutes(ahead)} ahead of this server's clock"
                yield Problem(field, _quoted(event[field]), latest)

    def _problems_of_value(self, event: dict[str, Any], kind: str) -> Iterator[Problem]:
        valid = next((signal.valid for signal in self._settings.signals if signal.event == kind), None)
        if valid is None or (field := self.columns.get("value")) is None:
            return
        low, high = valid
        value = event.get(field)
        number = _as_number(value)
        if number is None or not low <= number <= high:
            yield Problem(field, _quoted(value), f"a number from {low:g} to {high:g}, as a {kind} has")

    @cached_property
    def _events(self) -> set[str] | None:
        """The events that are declared; None where a rule decides by more than the event's name."""
        field = self.columns.get("event", "")
        rules = [rule for rule in self.source.rules if re.search(rf"\b{re.escape(field)}\b", rule.when, re.IGNORECASE)]
        named = [_event_of(rule, field) for rule in rules]
        return None if None in named else {*(signal.event for signal in self._settings.signals), *filter(None, named)}

    @cached_property
    def _events_of_rules(self) -> set[str] | None:
        """The events that the rules leave out; None where a rule decides by more than the event's name."""
        named = [_event_of(rule, self.columns.get("event", "")) for rule in self.source.rules]
        return None if None in named else {each for each in named if each is not None}


def _event_of(rule: RowRule, field: str) -> str | None:
    """The event of a rule of the form `FIELD = 'EVENT'`; None for any other."""
    found = re.fullmatch(rf"\s*`?{re.escape(field)}`?\s*=\s*'([^'\\]*)'\s*", rule.when, re.IGNORECASE)
    return found and found[1]


def _as_number(value: object) -> float | None:
    """A number, also one that is written as a text."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _quoted(value: object) -> str:
    """A value as the message quotes it: JSON, not too long."""
    text = json.dumps(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} minutes"
