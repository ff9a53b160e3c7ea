"""Answers that a client asks for again: ETag, If-None-Match, Cache-Control.

A new version and a block reach a reader within two seconds, so caches may keep answers and must ask before each use.
"""

from __future__ import annotations

from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

ONE_USERS, EVERYBODYS = "private, no-cache", "no-cache"
"""Cache-Control of a user's own answers, and of those that everybody gets."""


def conditional_response(request: Request, body: bytes, version: int, cache_control: str) -> Response:
    """The JSON `body`, or 304 without a body where the client has it. `version` is the slate version's number."""
    # Weak: the same content may come gzipped.
    etag = f'W/"{version}-{blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": cache_control}
    known = request.headers.get("if-none-match")
    if known is not None and (known.strip() == "*" or etag in (each.strip() for each in known.split(","))):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
