"""What the API answers, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

FALLBACK = "fallback"
"""The source of a list that the client made, since the server gave none."""


class _OfJson:
    """A value of a JSON object. Fields of a newer server are left out."""

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(**{each.name: content[each.name] for each in fields(cls) if each.name in content})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Item(_OfJson):
    """An item of a list."""

    item_id: str
    title: str
    score: float = 0.0
    """Scores of one source can be compared, those of different ones cannot."""
    source: str | None = None
    """The list that the item is from, where a list has items from several."""


@dataclass(frozen=True, slots=True)
class RecommendationList:
    """A list, best first."""

    items: tuple[Item, ...]
    source: str
    """The list that the first item is from: personal, live, similar, segment or popular; or `fallback`."""
    slate_version: str | None = None
    """The published version; None of a fallback."""
    model_version: str | None = None
    generated_at: str | None = None
    """When it was scored, ISO 8601, UTC."""
    age_seconds: int | None = None
    stale: bool = False
    """Whether the server's store is in trouble, or the list is the fallback."""
    next: str | None = None
    """The `page` that follows."""

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        known = {each.name for each in fields(cls)} - {"items"}
        items = tuple(map(Item.of_json, content["items"]))
        return cls(items=items, **{name: value for name, value in content.items() if name in known})

    @classmethod
    def of_fallback(cls, items: Sequence[Item], k: int | None, exclude: Sequence[str]) -> Self:
        """The first `k` items that are not excluded."""
        left = [item for item in items if item.item_id not in set(exclude)]
        return cls(items=tuple(left[:k]), source=FALLBACK, stale=True)


@dataclass(frozen=True, slots=True)
class ItemDetails(_OfJson):
    """An item."""

    item_id: str
    title: str
    categories: list[str]
    available: bool | None
    """Whether lists may have it; None where a stale answer does not know it."""
    stale: bool = False


@dataclass(frozen=True, slots=True)
class RejectedEvent(_OfJson):
    """An event that the server did not take."""

    index: int
    """Its place in the request, from 0."""
    field: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class EventsResult:
    """What became of events: those that were accepted are durable."""

    accepted: int
    rejected: tuple[RejectedEvent, ...]

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(content["accepted"], tuple(map(RejectedEvent.of_json, content["rejected"])))
