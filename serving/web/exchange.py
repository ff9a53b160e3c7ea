"""What every request and answer have in common: an id, a bounded body, security headers, gzip, a line of the log.

This is the outermost part of the app, and the last one that sees an error: whatever fails, the client gets JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
from time import perf_counter

from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics.counters import Counters
from serving.web.errors import error_response

MAX_BODY_BYTES = 1 << 20
"""A larger body is answered with 413."""
BODY_SECONDS = 15
"""The longest time in which a body has to arrive; otherwise the answer is 408."""
GZIP_FROM_BYTES = 1000
GZIP_LEVEL = 4
"""On a list of 20 items level 9 takes 1.5 times as long, and saves 1 %."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
"""Request ids that are taken from clients: safe in a header, in a log and in JSON."""
Headers = list[tuple[bytes, bytes]]
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
DATA_HEADERS: Headers = [
    NO_SNIFFING,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"vary", b"accept-encoding"),
]
PAGE_HEADERS: Headers = [
    NO_SNIFFING,
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data: https:; form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"same-origin"),
    (b"vary", b"accept-encoding"),
]
DATA_DOCS_HEADERS: Headers = [
    NO_SNIFFING,
    # Great Expectations' pages have scripts: in a sandbox these are of no origin, so they reach nothing of ours.
    (b"content-security-policy", b"sandbox allow-scripts allow-popups; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept-encoding"),
]
DATA_DOCS = "/console/data-docs/"
log = logging.getLogger(__name__)


class RequestIds:
    """Names requests: by the id that the client sends, or by one of this process."""

    def __init__(self) -> None:
        self._process, self._numbers = secrets.token_hex(6), itertools.count(1)

    def id_of(self, given: bytes | None) -> str:
        """The id of a request whose header x-request-id is `given`."""
        text = None if given is None else given.decode("latin1")
        return text if text is not None and REQUEST_ID.fullmatch(text) else f"{self._process}-{next(self._numbers)}"


class Exchange:
    """Wraps an app. With `log_all` each request is a line of the log, otherwise those with a status from 500 on."""

    def __init__(self, app: ASGIApp, log_all: bool, counters: Counters) -> None:
        self._app, self._log_all, self._counters = app, log_all, counters
        self._gzip = GZipMiddleware(app, GZIP_FROM_BYTES, GZIP_LEVEL)
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app, given_id, length = self._app, None, 0
        for name, value in scope["headers"]:
            if name == b"accept-encoding" and b"gzip" in value:
                app = self._gzip
            elif name == b"x-request-id":
                given_id = value
            elif name == b"content-length":
                length = int(value)  # the server has parsed it
            elif name == b"transfer-encoding":
                length = -1
        request_id = self._ids.id_of(given_id)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(scope, request_id, send)
        try:
            await app(scope, _bounded(receive, length) if length else receive, answer)
        except ClientDisconnect:  # nobody is there to get an answer
            return
        except Exception as error:
            answer.log(error)
            if answer.status:  # the answer has begun: all that is left is to end the connection
                raise
            message = f"{type(error).__name__}; the server's log has more under this request_id"
            await error_response(HTTPConnection(scope), "internal", message)(scope, receive, answer)
            return
        finally:
            if answer.status:
                self._counters.count_request(answer.route, answer.status, answer.seconds)
        if self._log_all or answer.status >= 500:
            answer.log()


class _Answer:
    """Sends an answer with the headers that every answer has, and knows what is logged of it."""

    __slots__ = ("_bytes", "_id", "_scope", "_send", "_started", "status")

    def __init__(self, scope: Scope, request_id: str, send: Send) -> None:
        self._scope, self._id, self._send = scope, request_id, send
        self._started, self._bytes = perf_counter(), 0
        self.status = 0
        """0 until the answer begins."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = (b"x-request-id", self._id.encode())
            message["headers"] = [*message["headers"], own, *_security_headers(self._scope, message)]
        else:
            self._bytes += len(message.get("body", b""))
        await self._send(message)

    @property
    def route(self) -> str | None:
        """The path of the route that answers; None where there is no such route."""
        return getattr(self._scope.get("route"), "path", None)

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return perf_counter() - self._started

    def log(self, error: Exception | None = None) -> None:
        """Write a line, with the traceback of `error`."""
        status = self.status or 500
        fields = {
            "request_id": self._id, "method": self._scope["method"],
            "route": self.route, "status": status, "bytes": self._bytes,
            "ms": round(1000 * self.seconds, 3),
        }  # fmt: skip
        log.log(logging.ERROR if status >= 500 else logging.INFO, "request", extra={"fields": fields}, exc_info=error)


def _security_headers(scope: Scope, message: Message) -> Headers:
    for name, value in message["headers"]:
        if name == b"content-type" and value.startswith(b"text/html"):
            return DATA_DOCS_HEADERS if scope["path"].startswith(DATA_DOCS) else PAGE_HEADERS
    return DATA_HEADERS


def _bounded(receive: Receive, length: int) -> Receive:
    """`receive` that raises HTTPException for a body that is too large or too slow. `length` is -1 where unknown."""
    received, deadline = 0, asyncio.get_running_loop().time() + BODY_SECONDS
    close = {"Connection": "close"}
    too_large = f"the body has more than {MAX_BODY_BYTES} bytes; send it in parts"

    async def receive_bounded() -> Message:
        nonlocal received
        if length > MAX_BODY_BYTES:
            raise HTTPException(413, too_large, close)
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {BODY_SECONDS} seconds", close) from None
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, too_large, close)
        return message

    return receive_bounded
