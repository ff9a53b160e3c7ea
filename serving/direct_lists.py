"""A user's list without the app: most requests are a GET of one, and the layers of an app take most of its time.

The parts are those of the app: its guard, its reader, its lists, its counters. What is not plain goes to the app: a
query, a condition, compression, a user who acted, a list that others fill, a refusal, a store in trouble.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Scope

from serving import answers
from serving.access.guard import Guard
from serving.list_routes import RECOMMENDATIONS
from serving.stores.fallback import FallbackReader
from serving.stores.reader import Served
from serving.web.caching import ONE_USERS, etag_of
from serving.web.exchange import DATA_HEADERS, RequestIds

START, END = (part.encode() for part in RECOMMENDATIONS.split("{user:path}"))
FOR_THE_APP = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"if-none-match", b"origin"))
"""Headers that only the app understands."""
Headers = list[tuple[bytes, bytes]]


class DirectLists:
    """For the thread of a worker's event loop."""

    def __init__(self, app: Starlette) -> None:
        self._state, self._lists = app.state, app.state.lists
        (guard,) = (each.app for each in app.routes if isinstance(each, Route) and each.path == RECOMMENDATIONS)
        assert isinstance(guard, Guard)
        self._guard, self._ids = guard, RequestIds()
        self._served: Served | None = None
        self._security = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in DATA_HEADERS)

    @classmethod
    def of(cls, app: Starlette) -> DirectLists | None:
        """None where the reader waits for a server, and where each request is a line of the log."""
        lists: FallbackReader = app.state.lists
        return None if lists.store.remote or app.state.settings.serving.access_log else cls(app)

    def response(self, url: bytes, headers: Headers, server: tuple[str, int | None] | None) -> bytes | None:
        """Headers and body of the answer to a GET without a body; None where the app answers."""
        if not url.startswith(START) or not url.endswith(END):
            return None
        started, user = perf_counter(), url[len(START) : -len(END)]
        if len(url) < len(START) + len(END) or b"%" in user or b"?" in user or b"#" in user or not user.isascii():
            return None
        given_id = None
        for name, value in headers:
            if name in FOR_THE_APP or (name == b"accept-encoding" and b"gzip" in value):
                return None
            if name == b"x-request-id":
                given_id = value
        try:
            content = self._content(user.decode())
        except Exception:  # the app meets it again, answers it and writes it into the log
            return None
        scope: Scope = {"type": "http", "method": "GET", "path": url.decode(), "headers": headers, "server": server}
        if content is None or self._guard.refusal(scope) is not None:
            return None
        counters, body = self._state.counters, content.body
        head = (
            f"content-length: {len(body)}\r\ncontent-type: application/json\r\n"
            f"etag: {etag_of(content.version, content.content)}\r\ncache-control: {ONE_USERS}\r\n"
            f"x-request-id: {self._ids.id_of(given_id)}\r\n{self._security}\r\n"
        )
        counters.count_list(content.source, content.stale)
        counters.count_request(RECOMMENDATIONS, 200, perf_counter() - started)
        return head.encode() + body

    def _content(self, user: str) -> answers.ListAnswer | None:
        if self._state.intake.recent.of(user):
            return None
        served = self._served
        if served is None:  # the first request of those that wait: none of them came after this look
            served = self._served = self._lists.served_now()
            if served is None:
                return None
            asyncio.get_running_loop().call_soon(self._forget)
        return answers.plain_recommendations(served.of(user), user, self._lists.overlay.hidden)

    def _forget(self) -> None:
        self._served = None
