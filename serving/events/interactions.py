"""A source's event -> the item and the weight that the night will give it, where no Spark expression has a part in it.

Every column that is used is a field by itself, and every rule is of the form `EVENT_FIELD = 'EVENT'`. The events of any
other source reach lists with the night alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from nightloom.settings import Settings, Source
from serving.events.field_types import INTEGERS, parse_moment, type_name

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ID_TYPES = frozenset({"TEXT", *INTEGERS})
"""Types whose values are texts in one way only."""
TYPES = {"user_id": ID_TYPES, "item_id": ID_TYPES, "event": ID_TYPES, "event_id": ID_TYPES,
         "occurred_at": frozenset({"TEXT", "TIMESTAMPTZ"}), "value": frozenset({"DOUBLE", *INTEGERS})}  # fmt: skip
"""Our column -> the types of a field that is read here."""


class Interaction(NamedTuple):
    """What a user did to an item."""

    at: int
    """Microseconds since 1970, UTC."""
    event_id: str
    item: str
    weight: float

    @property
    def day(self) -> date:
        return (EPOCH + timedelta(microseconds=self.at)).date()


class InteractionReader:
    """Reads the events of one source; `columns` are our columns that are a field by themselves, with its name."""

    def __init__(self, settings: Settings, source: Source, columns: Mapping[str, str], unused: set[str] | None) -> None:
        self._fields, self._unused, self._ids = columns, unused, source.ids
        self._signals = {signal.event: signal for signal in settings.signals}
        plain = all(
            name in columns and type_name(source.fields[columns[name]]) in types
            for name, types in TYPES.items()
            if name in source.columns
        )
        self.can_read = plain and unused is not None
        """Whether the night's reading needs no Spark expression."""

    def user(self, event: Mapping[str, Any]) -> str | None:
        """Whose event a checked one is; None where only the night can tell, or where nobody's list depends on it."""
        used = self.can_read and self._weight(event) is not None
        return self._ids.normalize(str(event[self._fields["user_id"]])) if used else None

    def read(self, record: str) -> Interaction | None:
        """A checked event from its JSON; None where the night will not use it."""
        event = json.loads(record)
        if any(event.get(self._fields[name]) is None for name in ("event", "event_id", "item_id", "occurred_at")):
            return None  # it was checked when nightloom.toml named other fields
        moment, weight = parse_moment(event[self._fields["occurred_at"]]), self._weight(event)
        item = self._ids.normalize(str(event[self._fields["item_id"]]))
        if moment is None or weight is None or item is None:
            return None
        at = (moment - EPOCH) // timedelta(microseconds=1)
        return Interaction(at, str(event[self._fields["event_id"]]), item, weight)

    def _weight(self, event: Mapping[str, Any]) -> float | None:
        """None where the night will not use it."""
        kind, value = str(event[self._fields["event"]]), event.get(self._fields.get("value", ""))
        signal = None if self._unused is None or kind in self._unused else self._signals.get(kind)
        return None if signal is None else signal.weigh(value)
