"""A snapshot of the store -> the JSON of a list, as bytes.

Each list has a fallback chain, which fills it: a user's own list, segments, popular; similar items, segments, popular;
segments, popular. The hot path: a stored value is parsed once, and each item's JSON of id and title is cached.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from time import time
from typing import Any

from nightloom.errors import NightloomError
from serving.paging import Page, list_digest
from serving.selection import Link, Picked, Selection, select
from serving.stores.base import EVERYBODY
from serving.stores.reader import Snapshot

MAX_CACHED_PREFIXES = 200_000
"""Items whose JSON is cached, per version: about 20 MB per 100,000."""


class BadRequestError(NightloomError):
    """A request with an impossible parameter. The message is for the reader."""


@dataclass(frozen=True, slots=True)
class ListAnswer:
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


def recommendations(snapshot: Snapshot, user: str, selection: Selection, stale: bool = False) -> ListAnswer:
    """A user's list; popular lists fill it, and are all of it for a user who has none."""
    return _personal(snapshot, user, snapshot.get("users", user), selection, stale)


def many_recommendations(
    snapshot: Snapshot, users: list[str], selection: Selection, stale: bool = False
) -> list[ListAnswer]:
    """The lists of several users, in one read of the store."""
    rows = snapshot.get_many("users", users)
    return [_personal(snapshot, user, own, selection, stale) for user, own in zip(users, rows, strict=True)]


def _personal(
    snapshot: Snapshot, user: str, own: dict[str, Any] | None, selection: Selection, stale: bool
) -> ListAnswer:
    chain = _chain(snapshot, "personal", own, selection.segments)
    digest = list_digest("users", user, selection.segments, len(own["items"]) if own else 0)
    return _answer(snapshot, b'{"user":' + _json(user), chain, selection, digest, stale)


def similar(snapshot: Snapshot, item: str, selection: Selection, stale: bool = False) -> ListAnswer:
    """Items similar to an item; the popular list, without the item, fills it."""
    own = snapshot.get("similar", item)
    chain = _chain(snapshot, "similar", own, selection.segments)
    digest = list_digest("similar", item, selection.segments, len(own["items"]) if own else 0)
    others = replace(selection, exclude={item, *selection.exclude})
    return _answer(snapshot, b'{"item":' + _json(item), chain, others, digest, stale)


def popular(snapshot: Snapshot, selection: Selection, stale: bool = False) -> ListAnswer:
    """The popular list of the first segment that has one; everybody's fills it."""
    named = (each for each in selection.segments if snapshot.get("popular", each) is not None)
    start = b'{"segment":' + _json(next(named, EVERYBODY))
    chain = _chain(snapshot, "popular", None, selection.segments)
    return _answer(snapshot, start, chain, selection, list_digest("popular", "", selection.segments, 0), stale)


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
        yield Link(source, own, complete=source == "personal" and len(own["items"]) < snapshot.meta["stored"])
    for segment in segments:
        if segment != EVERYBODY and (found := snapshot.get("popular", segment)) is not None:
            yield Link("segment", found)
    everybodys = snapshot.get("popular", EVERYBODY)
    assert everybodys is not None  # Snapshot has checked it
    yield Link("popular", everybodys)


def _answer(
    snapshot: Snapshot, start: bytes, chain: Iterator[Link], selection: Selection, digest: str, stale: bool
) -> ListAnswer:
    if selection.page is not None:
        selection.page.require_list(digest)
    picked, place = select(snapshot, chain, selection)
    first = picked[0][2] if picked else Link("popular", {})
    generated_at = first.row.get("generated_at", snapshot.meta["generated_at"])
    model = first.row.get("model_version", snapshot.meta["model_version"])
    following = "null" if place is None else f'"{Page(snapshot.key, place, digest)}"'
    end = (
        f'],"slate_version":"v{snapshot.version:06d}","model_version":"{model}","generated_at":"{generated_at}",'
        f'"source":"{first.source}","stale":{"true" if stale else "false"},"next":{following}'
    )
    content = b"".join((start, b',"items":[', _items(snapshot, picked), end.encode()))
    return ListAnswer(content, snapshot.version, generated_at, first.source, stale)


def _items(snapshot: Snapshot, picked: list[Picked]) -> bytes:
    """The JSON of items, each with its source where they are from several lists."""
    prefixes = _prefixes(snapshot, [item for item, _, _ in picked])
    if not picked or picked[0][2] is picked[-1][2]:
        return b",".join([prefixes[item] + repr(score).encode() + b"}" for item, score, _ in picked])
    return b",".join(
        [b'%b%a,"source":"%b"}' % (prefixes[item], score, link.source.encode()) for item, score, link in picked]
    )


def _prefixes(snapshot: Snapshot, items: list[str]) -> dict[str, bytes]:
    """Item -> `{"item_id":..,"title":..,"score":`; titles that are not cached yet are fetched together."""
    cache = snapshot.prefixes
    if missing := [item for item in items if item not in cache]:
        if len(cache) >= MAX_CACHED_PREFIXES:
            cache = snapshot.prefixes = {}
            missing = items
        for item, title in zip(missing, snapshot.titles(missing), strict=True):
            cache[item] = b'{"item_id":' + _json(item) + b',"title":' + _json(title) + b',"score":'
    return cache


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf8", "replace")
