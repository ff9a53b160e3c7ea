"""What both clients share: settings, headers, and the calls by their arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

from nightloom_client import calls
from nightloom_client.answers import EventsResult, Item, ItemDetails, RecommendationList
from nightloom_client.calls import Answer, Call, Selection
from nightloom_client.errors import UnreachableError
from nightloom_client.retries import AGAIN, Retries

Value = TypeVar("Value")


class Options(TypedDict, total=False):
    """Settings of a client."""

    key: str | None
    """With the scopes that the calls need: docs/access.md."""
    timeout: float
    """Seconds until a try counts as failed; default 1."""
    deadline: float
    """Seconds of all tries and waits of a call together; default 3."""
    tries: int
    """Default 3."""
    fallback: Sequence[Item]
    """Items, best first, that stand for every list which the server does not give in time; their lists have the source
    `fallback`. Without them the call raises."""


class Caller:
    """`url` is the server's, such as http://127.0.0.1:8000."""

    def __init__(self, url: str, **options: Unpack[Options]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"found the address {url!r}, expected one such as http://127.0.0.1:8000")
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "nightloom-client/0.1"}
        if key := options.get("key"):
            self._headers["Authorization"] = f"Bearer {key}"
        default = Retries()
        self._retries = Retries(
            options.get("timeout", default.timeout), options.get("deadline", default.deadline),
            options.get("tries", default.tries),
        )  # fmt: skip
        self._fallback = options.get("fallback")

    def _list(self, path: str, selection: Selection) -> Call[RecommendationList]:
        make = None if self._fallback is None or selection.get("page") else lambda: self._fallback_list(selection)
        return calls.list_call(path, make, selection)

    def _batch(self, users: Sequence[str], selection: Selection) -> Call[list[RecommendationList]]:
        make = None if self._fallback is None else lambda: [self._fallback_list(selection) for _ in users]
        return calls.batch_call(users, make, selection)

    def _fallback_list(self, selection: Selection) -> RecommendationList:
        assert self._fallback is not None  # the callers have looked
        return RecommendationList.of_fallback(self._fallback, selection.get("k"), selection.get("exclude", ()))

    def _item(self, item: str) -> Call[ItemDetails]:
        return calls.item_call(item)

    def _events(self, events: Sequence[calls.Event], source: str | None) -> Call[EventsResult]:
        return calls.events_call(events, source)

    @staticmethod
    def _read(call: Call[Value], answer: Answer | UnreachableError) -> Value:
        """The value of an answer, or the fallback. Raises ClientError."""
        if isinstance(answer, UnreachableError):
            if call.fallback is None:
                raise answer
            return call.fallback()
        if answer.status < 300:
            return call.read(json.loads(answer.body))
        if call.fallback is not None and (answer.status in AGAIN or answer.status == 500):
            return call.fallback()
        raise answer.error()
