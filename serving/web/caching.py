"""Answers that a client asks for again: ETag, If-None-Match, Cache-Control.

A new version and a block reach a reader within two seconds, so caches may keep answers and must ask before each use.
"""

from __future__ import annotations

import json
from zlib import crc32

from starlette.requests import Request
from starlette.responses import Response

ONE_USERS, EVERYBODYS = "private, no-cache", "no-cache"
"""Cache-Control of a user's own answers, and of those that everybody gets."""


def etag_of(version: int, content: bytes) -> str:
    """The ETag of the content of an answer: `version` is the number of its slate version."""
    # Weak: the same content may come gzipped, and an answer's age is no part of it.
    return f'W/"{version}-{crc32(content):08x}"'


def conditional_response(request: Request, body: bytes, etag: str, cache_control: str) -> Response:
    """The JSON `body`, or 304 without a body where the client has it."""
    head = [(b"etag", etag.encode()), (b"cache-control", cache_control.encode())]
    for name, value in request.scope["headers"]:
        if name == b"if-none-match" and _names(value.decode("latin1"), etag):
            return _Prepared(304, b"", head)
    length = (b"content-length", str(len(body)).encode())
    return _Prepared(200, body, [length, (b"content-type", b"application/json"), *head])


def uncached_json(content: object) -> Response:
    """The JSON of `content`, which no cache keeps."""
    return uncached_response(json.dumps(content, ensure_ascii=False).encode("utf8", "replace"))


def uncached_response(body: bytes) -> Response:
    """An answer that changes by itself, or to a POST: no cache keeps it."""
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _names(known: str, etag: str) -> bool:
    return known.strip() == "*" or etag in (each.strip() for each in known.split(","))


class _Prepared(Response):
    """An answer whose headers are bytes already: half the time of Starlette's own, on the route of most requests."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code, self.body, self.raw_headers, self.background = status, body, headers, None
