"""A snapshot of the store -> the JSON that a reader gets, as bytes: lists, an item's card.

The hot way: a stored value is parsed once, and the pieces of JSON that hold an item's id and title are kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from nightloom.errors import NightloomError, StoreError
from serving.stores.base import EVERYBODY, GoneError
from serving.stores.reading import Snapshot

MOST_PREFIXES = 200_000
"""Items whose piece of JSON is kept, per process: about 20 MB per 100,000."""


class AskedWrongError(NightloomError):
    """A reader asked for something that cannot be; its message is for the reader."""


def recommendations(
    snapshot: Snapshot, user: str, k: int, exclude: Collection[str] = (), stale: bool = False, segment: str = EVERYBODY
) -> bytes:
    """A user's list without the excluded items; the popular list when the user has none, or nothing of it is left.

    That is the one of `segment` (`market=DE`) where there is one, and else everybody's.
    """
    try:
        own = snapshot.get("users", user)
    except GoneError:
        raise
    except StoreError:  # the store is away: everybody's list is in memory
        own, stale, segment = None, True, EVERYBODY
    found, picked, source = own or {}, _picked(own or {}, k, exclude), "personal"
    if not picked and segment != EVERYBODY:
        found = snapshot.get("popular", segment) or {}
        picked, source = _picked(found, k, exclude), "segment"
    if not picked:
        found = snapshot.get("popular", EVERYBODY) or {}
        picked, source = _picked(found, k, exclude), "popular"
    return _answer(snapshot, b'{"user":' + _json(user), found, picked, source, stale)


def similar(snapshot: Snapshot, item: str, k: int, exclude: Collection[str] = (), stale: bool = False) -> bytes:
    """What goes beside an item, without the excluded ones; the popular list when nothing does."""
    found = snapshot.get("similar", item) or {}
    picked, source = _picked(found, k, exclude), "similar"
    if not picked:
        found, source = snapshot.get("popular", EVERYBODY) or {}, "popular"
        picked = _picked(found, k, {item, *exclude})
    return _answer(snapshot, b'{"item":' + _json(item), found, picked, source, stale)


def popular(snapshot: Snapshot, segment: str, k: int, exclude: Collection[str] = (), stale: bool = False) -> bytes:
    """The popular list of a segment, everybody's when the segment has none."""
    found = snapshot.get("popular", segment) or snapshot.get("popular", EVERYBODY) or {}
    start = b'{"segment":' + _json(found.get("segment", EVERYBODY))
    return _answer(snapshot, start, found, _picked(found, k, exclude), "popular", stale)


def length(snapshot: Snapshot, asked: str | None) -> int:
    """The number of items asked for; `slate.k` of the published version when none is. Raises AskedWrongError."""
    if asked is None:
        return int(snapshot.meta["k"])
    stored = snapshot.meta["stored"]
    if not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= stored):
        raise AskedWrongError(f"k is {asked!r}, expected a whole number from 1 to {stored} (slate.stored)")
    return int(asked)


def _picked(found: dict[str, Any], k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
    if not found:
        return []
    pairs = zip(found["items"], found["scores"], strict=True)
    return [pair for pair in pairs if pair[0] not in exclude][:k] if exclude else list(pairs)[:k]


def _answer(
    snapshot: Snapshot, start: bytes, found: dict[str, Any], picked: list[tuple[str, float]], source: str, stale: bool
) -> bytes:
    prefixes = _prefixes(snapshot, [item for item, _ in picked])
    items = b",".join([prefixes[item] + repr(score).encode() + b"}" for item, score in picked])
    model = found.get("model_version", snapshot.meta["model_version"])
    generated_at = found.get("generated_at", snapshot.meta["generated_at"])
    end = (
        f'],"slate_version":"v{snapshot.version:06d}","model_version":"{model}","generated_at":"{generated_at}",'
        f'"source":"{source}","stale":{"true" if stale else "false"}}}'
    )
    return start + b',"items":[' + items + end.encode()


def _prefixes(snapshot: Snapshot, items: list[str]) -> dict[str, bytes]:
    """Item -> `{"item_id":..,"title":..,"score":`; what is not kept yet is asked for at once."""
    kept = snapshot.prefixes
    if missing := [item for item in items if item not in kept]:
        if len(kept) >= MOST_PREFIXES:
            kept = snapshot.prefixes = {}
            missing = items
        for item, title in zip(missing, snapshot.titles(missing), strict=True):
            kept[item] = b'{"item_id":' + _json(item) + b',"title":' + _json(title) + b',"score":'
    return kept


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf8", "replace")
