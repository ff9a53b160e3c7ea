"""The lists of one version for requests without parameters, which most are: as answers.recommendations() gives them.

It takes a third of the time: what a stored row has as JSON is copied and not parsed, and what lists share is made once.
A list that is more than the first items of a user's own list, and a row that is not as our night writes it, is None
here: answers.py knows what to do with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from zlib import crc32

import msgspec

from serving import answers
from serving.stores.base import EVERYBODY, MAX_KEY_BYTES
from serving.stores.reader import Snapshot

DECIMALS = b"0123456789.,-"
"""All that the stored text of scores has, but for those under 1e-6 and from 1e15 on."""
MAX_ORIGINS = 1000


class _Row(msgspec.Struct, gc=False):
    """A user's list as it is stored."""

    items: list[str]
    scores: msgspec.Raw
    model_version: str
    generated_at: str


class PlainList(NamedTuple):
    """A list as JSON, and when it was made."""

    content: bytes
    """All but the age and the closing brace."""
    generated_at: float
    """Unix seconds."""


class PlainLists:
    """For one thread."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot, self._k, self._stored = snapshot, snapshot.meta["k"], snapshot.meta["stored"]
        self._origins = dict[tuple[str, str], tuple[bytes, float]]()
        self._page = f"{snapshot.name}.{snapshot.key.token}.".encode()

    def of(self, user: bytes, hidden: frozenset[str]) -> PlainList | None:
        """A user's list. `user` is ASCII that JSON does not escape; `hidden` are items that no answer has."""
        value = self._snapshot.value("users", b"=" + user) if len(user) <= MAX_KEY_BYTES else None
        if value is None:
            return None
        try:
            row = _decode(value)
        except msgspec.DecodeError:
            return None
        items, text, k = row.items, bytes(row.scores), self._k
        scores, length = text[1:-1].split(b","), len(items)
        if length < k or len(scores) != length or text.translate(None, DECIMALS) != b"[]":
            return None
        if hidden and not hidden.isdisjoint(items):
            return None
        place = k if length > k else self._place_after(items, hidden)
        following = b"null" if place is None else b'"%b%d.%08x"' % (self._page, place, _digest(user, length))
        end, generated_at = self._origins.get((row.model_version, row.generated_at)) or self._origin(row)
        listed = answers.items_json(self._snapshot, [(items[:k], scores[:k], b"")])
        return PlainList(b'{"user":"%b","items":[%b%b%b' % (user, listed, end, following), generated_at)

    def _place_after(self, items: list[str], hidden: frozenset[str]) -> int | None:
        """The place of the first popular item that is not among a user's."""
        if len(items) < self._stored:
            return None
        popular = self._snapshot.get("popular", EVERYBODY) or {"items": []}
        for place, item in enumerate(popular["items"], len(items)):
            if item not in items and item not in hidden:
                return place
        return None

    def _origin(self, row: _Row) -> tuple[bytes, float]:
        """What follows the items of lists with a row's origin, and when they were made. Cached: a version has few."""
        if len(self._origins) >= MAX_ORIGINS:
            self._origins.clear()
        origin = row.generated_at, row.model_version, "personal"
        found = answers.end_json(self._snapshot, origin, False), datetime.fromisoformat(row.generated_at).timestamp()
        self._origins[row.model_version, row.generated_at] = found
        return found


def _digest(user: bytes, length: int) -> int:
    """As paging.list_digest() makes it of a user's list without segments."""
    return crc32(b"users\0%b\0%d" % (user, length))


_decode = msgspec.json.Decoder(_Row).decode
