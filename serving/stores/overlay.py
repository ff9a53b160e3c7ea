"""What changes between nights: blocked items, and items that are out of stock. Readers take both out of every answer.

The serving store keeps them as one note, so every worker and every instance has them. A note is replaced only if it is
as it was read: of two changes at once none is lost, and none waits for a push.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from nightloom.errors import StoreError
from nightloom.values import now
from serving.stores.base import Store

NOTE = "OVERLAY"
MAX_ITEMS = 10_000
"""Of each set. Readers get the note once a second: with this many items it has about a megabyte."""
MAX_CHANGES = 100
"""Changes that are kept for people, the newest ones."""
TRIES = 50


class TooManyItemsError(StoreError):
    """A set would have more than MAX_ITEMS."""


class Cause(StrEnum):
    """Why an item is out of every answer."""

    BLOCKED = "blocked"
    OUT_OF_STOCK = "out_of_stock"


@dataclass(frozen=True)
class Mark:
    """Who took an item out, why, and when."""

    why: str
    """WHO: WHY."""
    at: str


@dataclass(frozen=True)
class Change:
    """One change, for people."""

    at: str
    items: Sequence[str]
    cause: str
    added: bool
    """False: the items are back in the lists."""
    why: str


@dataclass(frozen=True)
class Overlay:
    """Both sets, and the last changes."""

    blocked: Mapping[str, Mark] = field(default_factory=dict)
    out_of_stock: Mapping[str, Mark] = field(default_factory=dict)
    changes: Sequence[Change] = ()

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The items that no answer has."""
        return frozenset(self.blocked) | frozenset(self.out_of_stock)

    def __str__(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


EMPTY = Overlay()


def parse(text: str | None, location: str) -> Overlay:
    """An overlay from its note. Raises StoreError for a text that is none."""
    if text is None:
        return EMPTY
    try:
        found = json.loads(text)
        blocked, out = ({item: Mark(**mark) for item, mark in found[cause].items()} for cause in Cause)
        return Overlay(blocked, out, [Change(**each) for each in found["changes"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{location}: the note {NOTE} cannot be read ({error!r}); mend it by hand") from None


def read(store: Store) -> Overlay:
    """The overlay of a store."""
    return parse(store.read_note(NOTE), store.location)


def add(store: Store, cause: Cause, items: Sequence[str], why: str) -> list[str]:
    """Take items out of every answer -> those that were not out for this cause before.

    Raises TooManyItemsError.
    """
    return _change(store, Change(_moment(), items, cause, True, why))


def remove(store: Store, cause: Cause, items: Sequence[str], why: str) -> list[str]:
    """Let items back into the lists -> those that were out for this cause."""
    return _change(store, Change(_moment(), items, cause, False, why))


def _change(store: Store, change: Change) -> list[str]:
    for _ in range(TRIES):
        text = store.read_note(NOTE)
        before = parse(text, store.location)
        marks = dict(getattr(before, change.cause))
        moved = [item for item in dict.fromkeys(change.items) if (item in marks) != change.added]
        if not moved:
            return []
        for item in moved:
            if change.added:
                marks[item] = Mark(change.why, change.at)
            else:
                del marks[item]
        if len(marks) > MAX_ITEMS:
            raise TooManyItemsError(
                f"{len(marks):,} items would be {change.cause}, and {MAX_ITEMS:,} are the most; set `available` to "
                "false in the catalogue for those that stay out, and the next night leaves them out"
            )
        changes = [*before.changes, replace(change, items=moved)][-MAX_CHANGES:]
        after = replace(before, changes=changes, **{change.cause: marks})
        if store.swap_note(NOTE, text, str(after)):
            return moved
    raise StoreError(f"{store.location}: {TRIES} other changes came first; try it again")


def _moment() -> str:
    return now().isoformat(timespec="seconds")
