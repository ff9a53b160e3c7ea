"""A user's list without the app: most requests are a GET of one, and the layers of an app take most of its time.

The parts are those of the app: its guard, its reader, its lists, its counters. What is not plain goes to the app: a
query, a condition, compression, a user who acted, a list that others fill, a refusal, a store in trouble.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from time import perf_counter, time
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Scope

from serving.access.guard import Guard
from serving.events.recent import RecentEvents
from serving.list_routes import RECOMMENDATIONS
from serving.plain_lists import PlainLists
from serving.stores.fallback import FallbackReader
from serving.stores.reader import Served, Snapshot
from serving.web.caching import ONE_USERS, etag_of
from serving.web.exchange import DATA_HEADERS, RequestIds

START, END = (part.encode() for part in RECOMMENDATIONS.split("{user:path}"))
USER_BYTES = string.ascii_letters.encode() + string.digits.encode() + b"-._~:@"
"""Bytes of a user of which no parser could think anything else, and which are themselves in JSON."""
FOR_THE_APP = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"if-none-match", b"origin"))
"""Headers that only the app understands."""
SECURITY = b"".join([b"%b: %b\r\n" % pair for pair in DATA_HEADERS])
Headers = Sequence[tuple[bytes, bytes]]


class Caller(NamedTuple):
    """What the headers of a request say."""

    scope: Scope
    """For the guard, which reads the headers of it."""
    request_id: bytes | None


class DirectLists:
    """For the thread of a worker's event loop."""

    def __init__(self, app: Starlette) -> None:
        self._recent: RecentEvents = app.state.intake.recent
        self._reader: FallbackReader = app.state.lists
        (guard,) = (each.app for each in app.routes if isinstance(each, Route) and each.path == RECOMMENDATIONS)
        assert isinstance(guard, Guard)
        self._guard, self._ids, self._counters = guard, RequestIds(), app.state.counters
        self._served: Served | None = None
        self._lists: dict[Snapshot, PlainLists] = {}
        """Of the versions of `_served`."""
        self._turn: Served | None = None
        """What is served, for the requests of this turn of the event loop."""
        self._common: Headers = []
        self._start = b""

    @classmethod
    def of(cls, app: Starlette) -> DirectLists | None:
        """None where the reader waits for a server, and where each request is a line of the log."""
        lists: FallbackReader = app.state.lists
        return None if lists.store.remote or app.state.settings.serving.access_log else cls(app)

    def user_of(self, url: bytes) -> bytes | None:
        """The user whose list a URL names, without a query; None for any other URL."""
        user = url[len(START) : -len(END)]
        return None if not user or user.translate(None, USER_BYTES) or url != b"%b%b%b" % (START, user, END) else user

    def caller_of(self, headers: Headers, server: tuple[str, int | None] | None) -> Caller | None:
        """The sender of a GET without a body; None where its headers are for the app."""
        given_id = None
        for name, value in headers:
            if name in FOR_THE_APP or (name == b"accept-encoding" and b"gzip" in value):
                return None
            if name == b"x-request-id":
                given_id = value
        return Caller({"type": "http", "method": "GET", "path": "", "headers": headers, "server": server}, given_id)

    def response(self, user: bytes, caller: Caller, common: Headers) -> bytes | None:
        """The whole answer; None where the app answers. `common` are headers that every answer of the server has."""
        started, name = perf_counter(), user.decode()
        try:
            if self._recent.of(name) or (served := self._turn or self._begin_turn()) is None:
                return None
            snapshot = served.of(name)
            found = self._lists[snapshot].of(user, self._reader.overlay.hidden)
        except Exception:  # the app meets it again, answers it and writes it into the log
            return None
        if found is None or self._guard.refusal(caller.scope) is not None:
            return None
        if common is not self._common:  # the server makes another list each second
            self._common, self._start = common, b"".join([b"%b: %b\r\n" % pair for pair in common])
        body = b'%b,"age_seconds":%d}' % (found.content, max(0, time() - found.generated_at))
        head = (
            f"content-length: {len(body)}\r\ncontent-type: application/json\r\n"
            f"etag: {etag_of(snapshot.version, found.content)}\r\ncache-control: {ONE_USERS}\r\n"
            f"x-request-id: {self._ids.id_of(caller.request_id)}\r\n"
        )
        self._counters.count_list("personal", False)
        self._counters.count_request(RECOMMENDATIONS, 200, perf_counter() - started)
        return b"".join((b"HTTP/1.1 200 OK\r\n", self._start, head.encode(), SECURITY, b"\r\n", body))

    def _begin_turn(self) -> Served | None:
        """What is served now, for the requests that wait: none of them came after this look. None in trouble."""
        served = self._turn = self._reader.served_now()
        if served is None:
            return None
        asyncio.get_running_loop().call_soon(self._end_turn)
        if served is not self._served:
            snapshots = [each for each in (served.snapshot, served.canary) if each is not None]
            self._lists = {each: self._lists.get(each) or PlainLists(each) for each in snapshots}
            self._served = served
        return served

    def _end_turn(self) -> None:
        self._turn = None
