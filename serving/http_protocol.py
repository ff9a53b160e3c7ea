"""uvicorn's HTTP protocol with bounds: JSON errors for what no app sees, slow heads end, idle connections drain.

A plain GET of a user's list is answered here, by serving/direct_lists.py. A client's header lines are the same bytes in
each request, so the parser sees them once: a later request that differs in its user alone is compared with them.

Used by `nightloom serve`.
"""

from __future__ import annotations

import http
import math
import secrets
from asyncio import TimerHandle
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.web.errors import error_body

if TYPE_CHECKING:
    from serving.direct_lists import Caller, DirectLists

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
FIRST, LAST = b"GET ", b" HTTP/1.1\r\n"
"""What is before and after the URL in the first line of a plain request."""
MAX_REPEATED_BYTES = 4 << 10
"""Longer header lines are parsed each time."""


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
    _messages = 0
    """How many requests the parser saw begin in the bytes that came last."""
    _between = True
    """Whether the parser waits for the first byte of a request."""
    _caller: Caller | None = None
    """Of the last request."""
    _repeated: tuple[bytes, Caller] | None = None
    """What followed the URL of a plain request, to its last byte, and what the parser found in its header lines."""
    _used_at = -math.inf
    """When the last request came that did not go through the parser, by the loop's clock."""

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]  # as uvicorn types it
        super().connection_made(transport)
        self._lists: DirectLists | None = self.app_state.get(DIRECT_LISTS)
        self._close_when_idle(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        if self._refused or self._answer_repeated(data):
            return
        self._messages, whole = 0, self._between
        super().data_received(data)
        if self._answered:
            if whole and self._messages == 1:
                self._remember(data)
            self._answered = False
            self._close_when_idle(self.timeout_keep_alive)
        if self._in_head and self._late is None and not self._refused:
            self._late = self.loop.call_later(HEAD_SECONDS, self._refuse_late_head)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._messages, self._between = self._messages + 1, False

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
        self._between = not self.parser.should_upgrade()
        if not self._answered:
            super().on_message_complete()

    def _answer_repeated(self, data: bytes) -> bool:
        """Whether the data is one plain request, whose header lines are those of an earlier one, and was answered."""
        if self._repeated is None or not self._between or not self._may_answer():
            return False
        end, caller = self._repeated
        if not data.startswith(FIRST) or not data.endswith(end):
            return False
        assert self._lists is not None  # who has answered before
        user = self._lists.user_of(data[len(FIRST) : -len(end)])
        if user is None:
            return False
        if (found := self._lists.response(user, caller, self.server_state.default_headers)) is None:
            return False
        self._used_at = self.loop.time()
        self.transport.write(found)
        self.server_state.total_requests += 1
        return True

    def _remember(self, data: bytes) -> None:
        """Keep the header lines of the request that was just answered, if the data is that request and nothing else."""
        start = b"%b%b%b" % (FIRST, self.url, LAST)
        whole = data.startswith(start) and data.find(b"\r\n\r\n") == len(data) - 4
        end = data[len(start) - len(LAST) :]
        if whole and len(end) <= MAX_REPEATED_BYTES and self._caller is not None:
            self._repeated = end, self._caller

    def _may_answer(self) -> bool:
        """Whether an answer can be sent now without the app."""
        if self._draining or self.flow.write_paused:
            return False
        return self.cycle is None or self.cycle.response_complete

    def _answer_directly(self) -> bool:
        """Whether the request is answered, without the app."""
        self._answered, parser = False, self.parser
        if self._lists is None or parser.get_method() != b"GET" or not self._may_answer():
            return False
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return False
        user, self._caller = self._lists.user_of(self.url), self._lists.caller_of(self.headers, self.server)
        if user is None or self._caller is None:
            return False
        found = self._lists.response(user, self._caller, self.server_state.default_headers)
        if found is None:
            return False
        self.transport.write(found)
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

    def timeout_keep_alive_handler(self) -> None:
        left = self._used_at + self.timeout_keep_alive - self.loop.time()
        if left > 0 and not self._draining:
            self._close_when_idle(left)
        else:
            super().timeout_keep_alive_handler()

    def _close_when_idle(self, seconds: float) -> None:
        """data_received() of uvicorn cancels this; a request that does not reach it is seen when the time is over."""
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """End the parser's work; it calls send_400_response()."""
        self._refusal = status, code, message
        raise ValueError(message)

    def _refuse_late_head(self) -> None:
        self._refusal = 408, "too_slow", f"the head of the request did not arrive within {HEAD_SECONDS} seconds"
        self.send_400_response("")
