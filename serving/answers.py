"""A snapshot of the store -> the JSON of a list, as bytes.

Each list has a fallback chain, which fills it: a user's own list (the live one where there is one), segments, popular;
similar items, segments, popular; segments, popular. The hot path: a stored value is parsed once, and the JSON of each
item's id and title is cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from json.encoder import encode_basestring as _json
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


ItemTexts = tuple[Sequence[str], Sequence[bytes], bytes]
"""Items of one list, the JSON of their scores, and what follows each score in the JSON."""


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
    generated_at = first.row.get("generated_at", snapshot.meta["generated_at"])
    origin = generated_at, first.row.get("model_version", snapshot.meta["model_version"]), first.source
    listed = items_json(snapshot, [_texts(each, named=len(picked) > 1) for each in picked])
    parts = start.encode("utf8", "replace"), listed, end_json(snapshot, origin, stale), following.encode()
    return ListAnswer(b'%b,"items":[%b%b%b' % parts, snapshot.version, generated_at, first.source, stale)


def end_json(snapshot: Snapshot, origin: tuple[str, str, str], stale: bool) -> bytes:
    """What is between items and next page. `origin`: generated at, model version, source, of the first item."""
    generated_at, model, source = origin
    text = (
        f'],"slate_version":"{snapshot.name}","model_version":"{model}","generated_at":"{generated_at}",'
        f'"source":"{source}","stale":{"true" if stale else "false"},"next":'
    )
    return text.encode("utf8", "replace")


def _texts(picked: Picked, named: bool) -> ItemTexts:
    """`named` adds the source to each item."""
    end = b',"source":"%b"' % picked.link.source.encode() if named else b""
    return picked.items, _encode(picked.scores)[1:-1].split(b","), end


def items_json(snapshot: Snapshot, lists: list[ItemTexts]) -> bytes:
    """The JSON of the items of lists."""
    parts = list[bytes]()
    try:
        for items, scores, end in lists:
            of_list = [end] * (3 * len(items))
            of_list[::3] = map(snapshot.prefixes.__getitem__, items)
            of_list[1::3] = scores
            parts += of_list
    except KeyError:
        _fetch_prefixes(snapshot, [item for items, _, _ in lists for item in items])
        return items_json(snapshot, lists)
    return b"%b}" % b"".join(parts)[2:] if parts else b""


def _fetch_prefixes(snapshot: Snapshot, items: list[str]) -> None:
    """Cache `},{"item_id":..,"title":..,"score":` of items; the titles are fetched together."""
    if len(snapshot.prefixes) >= MAX_CACHED_PREFIXES:
        snapshot.prefixes = {}
    missing = [item for item in items if item not in snapshot.prefixes]
    for item, title in zip(missing, snapshot.titles(missing), strict=True):
        text = f'}},{{"item_id":{_json(item)},"title":{_json(title)},"score":'
        snapshot.prefixes[item] = text.encode("utf8", "replace")


_encode = msgspec.json.Encoder().encode
