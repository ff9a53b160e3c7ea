"""What a request wants of a list: how many items, which ones not, which ones only, from which place on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from serving.paging import Page
from serving.stores.reader import AT_A_TIME, Snapshot

MAX_CACHED_FACTS = 200_000
"""Items whose categories and attributes are cached, per version."""
Facts = tuple[frozenset[str], frozenset[str]]
"""Categories and attributes (`year=1998`) of an item."""
NO_FACTS: Facts = frozenset(), frozenset()


@dataclass(frozen=True)
class Filters:
    """Which items may be listed: one of the categories, and one of the values of each attribute that is named."""

    categories: frozenset[str] = frozenset()
    attributes: tuple[frozenset[str], ...] = ()
    """For each attribute the allowed `NAME=VALUE`."""

    @classmethod
    def of(cls, categories: Collection[str], attributes: Collection[str]) -> Filters | None:
        """None where nothing is asked for."""
        if not categories and not attributes:
            return None
        by_name: dict[str, set[str]] = {}
        for each in attributes:
            by_name.setdefault(each.partition("=")[0], set()).add(each)
        return cls(frozenset(categories), tuple(map(frozenset, by_name.values())))

    def admit(self, facts: Facts) -> bool:
        categories, attributes = facts
        if self.categories and self.categories.isdisjoint(categories):
            return False
        return not any(allowed.isdisjoint(attributes) for allowed in self.attributes)


@dataclass(frozen=True)
class Selection:
    """What a request wants of a list."""

    k: int
    exclude: Collection[str] = ()
    segments: tuple[str, ...] = ()
    """Segments whose popular lists may fill the list, in this order."""
    filters: Filters | None = None
    page: Page | None = None
    """None for the first page."""
    hidden: Collection[str] = ()
    """Items that no answer has: see stores/overlay.py."""

    def takes_all(self, items: Sequence[str]) -> bool:
        """Whether it leaves out none of these items, from the first one on."""
        asks_nothing = self.filters is None and self.page is None and not self.exclude
        return asks_nothing and (not self.hidden or all(item not in self.hidden for item in items))

    def without(self, items: frozenset[str]) -> Selection:
        """The same, without these items."""
        return replace(self, exclude=items.union(self.exclude)) if items else self


class Link(NamedTuple):
    """One list of a fallback chain."""

    source: str
    row: dict[str, Any]
    """As the store has it: items, scores."""
    complete: bool = False
    """Whether it has all that the reader may see: later lists would only add what is seen or hidden."""


class Picked(NamedTuple):
    """Items of one list of a chain, and their scores."""

    items: Sequence[str]
    scores: Sequence[float]
    link: Link


def select(snapshot: Snapshot, chain: Iterable[Link], selection: Selection) -> tuple[list[Picked], int | None]:
    """The first k items of a chain, and the place of the next one that is left.

    A list that comes later in the chain fills what the earlier ones leave open. After a complete list it is used only
    where nothing of that one is left.
    """
    picked, left = list[Picked](), selection.k
    k, exclude, hidden, filters = selection.k, selection.exclude, selection.hidden, selection.filters
    start, offset = 0 if selection.page is None else selection.page.place, 0
    earlier: set[str] = set()
    for link in chain:
        items, scores = link.row["items"], link.row["scores"]
        if not earlier and selection.takes_all(items):  # most requests: the first k items
            if items:
                picked, left = [Picked(items[:k], scores[:k], link)], k - min(k, len(items))
            if len(items) > k:
                return picked, k
        else:
            places = list[int]()
            for place in range(max(start - offset, 0), len(items)):
                item = items[place]
                if item in exclude or item in hidden or item in earlier:
                    continue
                if filters is not None and not filters.admit(_facts(snapshot, items, place)):
                    continue
                if not left:
                    return [*picked, *_of_places(places, link)], offset + place
                places.append(place)
                left -= 1
            picked += _of_places(places, link)
        if picked and link.complete:
            break
        offset += len(items)
        earlier.update(items)
    return picked, None


def _of_places(places: list[int], link: Link) -> list[Picked]:
    items, scores = link.row["items"], link.row["scores"]
    return [Picked([items[place] for place in places], [scores[place] for place in places], link)] if places else []


def _facts(snapshot: Snapshot, items: Sequence[str], place: int) -> Facts:
    """The facts of the item at a place; those of the next items are read with them."""
    cache = snapshot.facts
    if (found := cache.get(items[place])) is not None:
        return found
    if len(cache) >= MAX_CACHED_FACTS:
        cache.clear()
    missing = [item for item in items[place : place + AT_A_TIME] if item not in cache]
    for item, row in zip(missing, snapshot.get_many("items", missing), strict=True):
        cache[item] = NO_FACTS if row is None else _facts_of(row)
    return cache[items[place]]


def _facts_of(row: dict[str, Any]) -> Facts:
    attributes = row.get("attributes", {})  # a version that was published before these were stored has none
    return frozenset(row["categories"]), frozenset(f"{name}={value}" for name, value in attributes.items())
