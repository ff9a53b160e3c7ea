"""A snapshot of the store -> the JSON of a list, as bytes.

Each list has a fallback chain, which fills it: a user's own list (the live one where there is one), segments, popular;
similar items, segments, popular; segments, popular. The hot path: a stored value is parsed once, and the JSON of each
item's id and title is cached.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from time import time
from typing import Any, NamedTuple

import msgspec

from nightloom.errors import NightloomError
from serving.paging import Page, list_digest
from serving.selection import Link, Picked, Selection, select
from serving.stores.base import EVERYBODY
from serving.stores.reader import Snapshot

PERSONAL = ("personal", "live")
"""Sources that are one user's list."""
MAX_CACHED_PREFIXES = 200_000
"""Items whose JSON is cached, per version: about 20 MB per 100,000."""


class BadRequestError(NightloomError):
    """A request with an impossible parameter. The message is for the reader."""


class ListAnswer(NamedTuple):
    """A list as JSON."""

    content: bytes
    """All but the age and the closing brace."""
    version: int
    generated_at: str
    source: str
    """Of the first item."""
    stale: bool

    @property
    def body(self) -> bytes:
        """With the age of the list in seconds, as of now."""
        age = max(0, int(time() - datetime.fromisoformat(self.generated_at).timestamp()))
        return b'%b,"age_seconds":%d}' % (self.content, age)


def recommendations(
    snapshot: Snapshot, user: str, selection: Selection, stale: bool = False, live: dict[str, Any] | None = None
) -> ListAnswer:
    """A user's list; popular lists fill it, and are all of it for a user who has none.

    `live` is a row of serving/live/lists.py, which takes the place of the stored list.
    """
    if live is not None:
        named = "live", f"{user}\0{live['events']}", selection.segments, len(live["items"])
        chain = _chain(snapshot, "live", live, selection.segments)
        return _answer(snapshot, f'{{"user":{_json(user)}', chain, selection, stale, *named)
    return _personal(snapshot, user, snapshot.get("users", user), selection, stale)


def plain_recommendations(snapshot: Snapshot, user: str, hidden: frozenset[str]) -> ListAnswer | None:
    """What recommendations() gives for a request without parameters, in less time.

    None where that is more than the first items of the user's own list. `hidden` are items that no answer has.
    """
    row, k = snapshot.get("users", user), snapshot.meta["k"]
    if row is None or len(row["items"]) < k or not hidden.isdisjoint(row["items"]):
        return None
    items, place = row["items"], k
    if len(items) == k and (place := _place_after(snapshot, items, hidden)) is None:
        following = "null"
    else:
        following = f'"{Page(snapshot.key, place, list_digest("users", user, (), len(items)))}"'
    text = _items(snapshot, [Picked(items[:k], row["scores"][:k], Link("personal", row))])
    return _list_answer(snapshot, f'{{"user":{_json(user)}', text, "personal", row, False, following)


def _place_after(snapshot: Snapshot, items: list[str], hidden: frozenset[str]) -> int | None:
    """The place of the first popular item that is not among a user's."""
    if len(items) < snapshot.meta["stored"]:
        return None
    popular = snapshot.get("popular", EVERYBODY) or {"items": []}
    left = (place for place, item in enumerate(popular["items"]) if item not in items and item not in hidden)
    found = next(left, None)
    return None if found is None else len(items) + found


def many_recommendations(
    snapshot: Snapshot,
    users: list[str],
    selection: Selection,
    acted_on: Mapping[str, frozenset[str]],
    stale: bool = False,
) -> list[ListAnswer]:
    """The lists of several users, in one read of the store; `acted_on`: user -> items that leave the list."""
    rows = snapshot.get_many("users", users)
    return [
        _personal(snapshot, user, own, selection.without(acted_on.get(user, frozenset())), stale)
        for user, own in zip(users, rows, strict=True)
    ]


def _personal(
    snapshot: Snapshot, user: str, own: dict[str, Any] | None, selection: Selection, stale: bool
) -> ListAnswer:
    chain = _chain(snapshot, "personal", own, selection.segments)
    named = "users", user, selection.segments, len(own["items"]) if own else 0
    return _answer(snapshot, f'{{"user":{_json(user)}', chain, selection, stale, *named)


def similar(snapshot: Snapshot, item: str, selection: Selection, stale: bool = False) -> ListAnswer:
    """Items similar to an item; the popular list, without the item, fills it."""
    own = snapshot.get("similar", item)
    chain = _chain(snapshot, "similar", own, selection.segments)
    listed = "similar", item, selection.segments, len(own["items"]) if own else 0
    others = replace(selection, exclude={item, *selection.exclude})
    return _answer(snapshot, f'{{"item":{_json(item)}', chain, others, stale, *listed)


def popular(snapshot: Snapshot, selection: Selection, stale: bool = False) -> ListAnswer:
    """The popular list of the first segment that has one; everybody's fills it."""
    named = (each for each in selection.segments if snapshot.get("popular", each) is not None)
    start = f'{{"segment":{_json(next(named, EVERYBODY))}'
    chain = _chain(snapshot, "popular", None, selection.segments)
    return _answer(snapshot, start, chain, selection, stale, "popular", "", selection.segments, 0)


def parse_k(snapshot: Snapshot, given: int | str | None) -> int:
    """The requested number of items; by default `slate.k` of the published version. Raises BadRequestError."""
    if given is None:
        return int(snapshot.meta["k"])
    stored, text = snapshot.meta["stored"], str(given)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= stored):
        raise BadRequestError(f"k is {text[:40]!r}, expected a whole number from 1 to {stored} (slate.stored)")
    return int(text)


def _chain(snapshot: Snapshot, source: str, own: dict[str, Any] | None, segments: tuple[str, ...]) -> Iterator[Link]:
    """The lists that may be asked for, the best one first; each is read when the ones before are used up."""
    if own:
        # A user's list is shorter than the night stores them only where nothing else may be shown to this user.
        yield Link(source, own, complete=source in PERSONAL and len(own["items"]) < snapshot.meta["stored"])
    for segment in segments:
        if segment != EVERYBODY and (found := snapshot.get("popular", segment)) is not None:
            yield Link("segment", found)
    everybodys = snapshot.get("popular", EVERYBODY)
    assert everybodys is not None  # Snapshot has checked it
    yield Link("popular", everybodys)


def _answer(
    snapshot: Snapshot, start: str, chain: Iterator[Link], selection: Selection, stale: bool, *named: Any
) -> ListAnswer:
    """`named` are the arguments of list_digest()."""
    if selection.page is not None:
        selection.page.require_list(list_digest(*named))
    picked, place = select(snapshot, chain, selection)
    first = picked[0].link if picked else Link("popular", {})
    following = "null" if place is None else f'"{Page(snapshot.key, place, list_digest(*named))}"'
    return _list_answer(snapshot, start, _items(snapshot, picked), first.source, first.row, stale, following)


def _list_answer(
    snapshot: Snapshot, start: str, items: bytes, source: str, row: dict[str, Any], stale: bool, following: str
) -> ListAnswer:
    """`source` and `row` are of the list with the first item, `following` is JSON."""
    generated_at = row.get("generated_at", snapshot.meta["generated_at"])
    model = row.get("model_version", snapshot.meta["model_version"])
    end = (
        f'],"slate_version":"v{snapshot.version:06d}","model_version":"{model}","generated_at":"{generated_at}",'
        f'"source":"{source}","stale":{"true" if stale else "false"},"next":{following}'
    )
    content = b'%b,"items":[%b%b' % (start.encode("utf8", "replace"), items, end.encode("utf8", "replace"))
    return ListAnswer(content, snapshot.version, generated_at, source, stale)


def _items(snapshot: Snapshot, picked: list[Picked]) -> bytes:
    """The JSON of items, each with its source where they are from several lists."""
    try:
        return b",".join([_items_of(snapshot, each, named=len(picked) > 1) for each in picked])
    except KeyError:
        _fetch_prefixes(snapshot, [item for each in picked for item in each.items])
        return _items(snapshot, picked)


def _items_of(snapshot: Snapshot, picked: Picked, named: bool) -> bytes:
    """The JSON of items of one list. `named` adds its source. Raises KeyError."""
    prefixes, scores = snapshot.prefixes, _encode(picked.scores)[1:-1].split(b",")
    end = b',"source":"%b"}' % picked.link.source.encode() if named else b"}"
    texts = [prefixes[item] + score for item, score in zip(picked.items, scores, strict=True)]
    return (end + b",").join(texts) + end


def _fetch_prefixes(snapshot: Snapshot, items: list[str]) -> None:
    """Cache `{"item_id":..,"title":..,"score":` of items; the titles are fetched together."""
    if len(snapshot.prefixes) >= MAX_CACHED_PREFIXES:
        snapshot.prefixes = {}
    missing = [item for item in items if item not in snapshot.prefixes]
    for item, title in zip(missing, snapshot.titles(missing), strict=True):
        text = f'{{"item_id":{_json(item)},"title":{_json(title)},"score":'
        snapshot.prefixes[item] = text.encode("utf8", "replace")


_json = json.JSONEncoder(ensure_ascii=False).encode
_encode = msgspec.json.Encoder().encode
