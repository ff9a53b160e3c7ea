"""A snapshot of the store -> the JSON of a list, as bytes.

The hot path: a stored value is parsed once, and the JSON of each item's id and title is cached.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from nightloom.errors import NightloomError
from serving.stores.base import EVERYBODY
from serving.stores.reader import Snapshot

MAX_CACHED_PREFIXES = 200_000
"""Items whose JSON is cached, per version: about 20 MB per 100,000."""


class BadRequestError(NightloomError):
    """A request with an impossible parameter. The message is for the reader."""


def recommendations(
    snapshot: Snapshot, user: str, k: int, exclude: Collection[str] = (), stale: bool = False, segment: str = EVERYBODY
) -> bytes:
    """A user's list without the excluded items; a popular list when the user has none, or when nothing of it is left.

    The popular list is that of `segment` (`market=DE`) if it has one, otherwise everybody's.
    """
    found, source = snapshot.get("users", user) or {}, "personal"
    picked = _first_k(found, k, exclude)
    if not picked and segment != EVERYBODY:
        found = snapshot.get("popular", segment) or {}
        picked, source = _first_k(found, k, exclude), "segment"
    if not picked:
        found = snapshot.get("popular", EVERYBODY) or {}
        picked, source = _first_k(found, k, exclude), "popular"
    return _response(snapshot, b'{"user":' + _json(user), found, picked, source, stale)


def similar(snapshot: Snapshot, item: str, k: int, exclude: Collection[str] = (), stale: bool = False) -> bytes:
    """Items similar to an item, without the excluded ones; the popular list when there are none."""
    found = snapshot.get("similar", item) or {}
    picked, source = _first_k(found, k, exclude), "similar"
    if not picked:
        found, source = snapshot.get("popular", EVERYBODY) or {}, "popular"
        picked = _first_k(found, k, {item, *exclude})
    return _response(snapshot, b'{"item":' + _json(item), found, picked, source, stale)


def popular(snapshot: Snapshot, segment: str, k: int, exclude: Collection[str] = (), stale: bool = False) -> bytes:
    """The popular list of a segment; everybody's when the segment has none."""
    found = snapshot.get("popular", segment) or snapshot.get("popular", EVERYBODY) or {}
    start = b'{"segment":' + _json(found.get("segment", EVERYBODY))
    return _response(snapshot, start, found, _first_k(found, k, exclude), "popular", stale)


def parse_k(snapshot: Snapshot, text: str | None) -> int:
    """The requested number of items; by default `slate.k` of the published version. Raises BadRequestError."""
    if text is None:
        return int(snapshot.meta["k"])
    stored = snapshot.meta["stored"]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= stored):
        raise BadRequestError(f"k is {text[:40]!r}, expected a whole number from 1 to {stored} (slate.stored)")
    return int(text)


def _first_k(found: dict[str, Any], k: int, exclude: Collection[str]) -> list[tuple[str, float]]:
    if not found:
        return []
    pairs = zip(found["items"], found["scores"], strict=True)
    return [pair for pair in pairs if pair[0] not in exclude][:k] if exclude else list(pairs)[:k]


def _response(
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
