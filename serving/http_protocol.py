"""uvicorn's HTTP protocol with bounds: JSON errors for what no app sees, slow heads end, idle connections drain.

A plain GET of a user's list is answered here, by serving/direct_lists.py.

Used by `nightloom serve`.
"""

from __future__ import annotations

import http
import secrets
from asyncio import TimerHandle
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.web.errors import error_body

if TYPE_CHECKING:
    from serving.direct_lists import DirectLists

MAX_URL_BYTES = 32 << 10
MAX_HEADER_BYTES = 32 << 10
HEAD_SECONDS = 10
"""The longest time in which the head of a request has to arrive."""
DRAIN_SECONDS = 2
"""How long an idle connection of a server that stops waits for a last request. Closing it at once could drop a request
that is on its way."""

LINGER_SECONDS = 1
DIRECT_LISTS = "direct_lists"
"""The app's DirectLists in the state of its lifespan."""
OK = b"HTTP/1.1 200 OK\r\n"


class JsonHttpProtocol(HttpToolsProtocol):
    """One connection."""

    _refusal = (400, "bad_request", "these bytes are no HTTP request; see the page of the API")
    _head_bytes = 0
    _in_head = False
    _late: TimerHandle | None = None
    _draining = False
    _refused = False
    _answered = False
    """Whether the last request was answered without the app."""

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]  # as uvicorn types it
        super().connection_made(transport)
        self._close_when_idle(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._answered:
            self._answered = False
            self._close_when_idle(self.timeout_keep_alive)
        if self._in_head and self._late is None and not self._refused:
            self._late = self.loop.call_later(HEAD_SECONDS, self._refuse_late_head)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, "uri_too_long", f"the URL has more than {MAX_URL_BYTES} bytes; POST takes long lists")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4  # ": " and the line end
        if self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(431, "headers_too_large", f"the headers have more than {MAX_HEADER_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._answer_directly():
            return
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if not self._answered:
            super().on_message_complete()

    def _answer_directly(self) -> bool:
        """Whether the request is answered, without the app."""
        self._answered = False
        lists: DirectLists | None = self.app_state.get(DIRECT_LISTS)
        parser, cycle = self.parser, self.cycle
        if lists is None or self._draining or parser.get_method() != b"GET" or self.flow.write_paused:
            return False
        if (cycle is not None and not cycle.response_complete) or not parser.should_keep_alive():
            return False
        if parser.get_http_version() != "1.1":
            return False
        found = lists.response(self.url, self.headers, self.server)
        if found is None:
            return False
        own = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
        self.transport.write(OK + own + found)
        self.server_state.total_requests += 1
        self._answered = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called when the server stops: the connection closes after its next answer, or when no request comes."""
        self._draining = True
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self._close_when_idle(DRAIN_SECONDS)
        else:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        status, code, message = self._refusal
        request_id = secrets.token_hex(8)
        body = error_body(code, message, request_id)
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        if self.cycle is not None and not self.cycle.response_complete:  # the app may be at work on an earlier part
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        # Closing it while unread bytes wait would reset the connection, and the client would lose the answer.
        self._refused = True
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _close_when_idle(self, seconds: float) -> None:
        """data_received() of uvicorn cancels this."""
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """End the parser's work; it calls send_400_response()."""
        self._refusal = status, code, message
        raise ValueError(message)

    def _refuse_late_head(self) -> None:
        self._refusal = 408, "too_slow", f"the head of the request did not arrive within {HEAD_SECONDS} seconds"
        self.send_400_response("")
