"""Errors as JSON: {"error": {"code": .., "message": .., "request_id": ..}}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.requests import HTTPConnection
from starlette.responses import Response


class ErrorKind(NamedTuple):
    """What a code means."""

    status: int
    when: str
    """For docs/api-reference.md."""


ERRORS = {
    "bad_request": ErrorKind(400, "a parameter is missing or impossible, or the bytes are no HTTP request"),
    "unauthorized": ErrorKind(401, "a key is needed, or the key is unknown, expired or revoked"),
    "wrong_scope": ErrorKind(403, "the key has not the scope that the path needs"),
    "cross_site": ErrorKind(403, "the request comes from another site's page, and there is no key"),
    "wrong_host": ErrorKind(403, "while no key exists, only this machine is answered"),
    "bad_events": ErrorKind(400, "no event of a request is as its source declares; `rejected` names each"),
    "no_source": ErrorKind(404, "no source takes events, or none of this name does"),
    "not_found": ErrorKind(404, "no such path, or it is not answered at this address"),
    "unknown_item": ErrorKind(404, "nobody described the item"),
    "not_listed": ErrorKind(404, "the user's list does not have the item"),
    "method_not_allowed": ErrorKind(405, "the path has no such method; `Allow` names those it has"),
    "too_many_items": ErrorKind(409, "more than 10,000 items would be blocked, or out of stock"),
    "too_slow": ErrorKind(408, "the head of a request did not arrive within 10 seconds, or its body within 15"),
    "page_expired": ErrorKind(410, "the version of a page is not kept any more, or the page is another list's"),
    "body_too_large": ErrorKind(413, "the body has more than 1 MiB"),
    "uri_too_long": ErrorKind(414, "the URL has more than 32 KiB; POST takes long lists"),
    "unsupported_media_type": ErrorKind(415, "the body is no `application/json`"),
    "too_many_events": ErrorKind(429, "too many events wait to be written; `Retry-After` says when to send them again"),
    "too_many_requests": ErrorKind(429, "the key's limit; `Retry-After` says when to ask again"),
    "headers_too_large": ErrorKind(431, "the headers have more than 32 KiB"),
    "internal": ErrorKind(500, "a fault of the server: its log has more under the `request_id`"),
    "nothing_published": ErrorKind(503, "the store can be read, and nothing was ever published"),
    "store_unavailable": ErrorKind(503, "the store cannot be read, and this machine never read a version from it"),
    "keys_unavailable": ErrorKind(503, "the keys cannot be read yet"),
    "events_unavailable": ErrorKind(503, "events cannot be written now; `Retry-After` says when to send them again"),
    "not_here": ErrorKind(503, "this process cannot read what the answer needs, such as the model"),
    "busy": ErrorKind(503, "too many explanations are under way; `Retry-After` says when to ask again"),
}
"""Every code of the API."""


def error_body(code: str, message: str, request_id: str, **more: Any) -> bytes:
    """The JSON of an error. `code` is one of ERRORS, `message` a sentence for people, `more` stands beside it."""
    error = {"code": code, "message": message, "request_id": request_id}
    return json.dumps({"error": error} | more, ensure_ascii=False).encode("utf8", "replace")


def error_response(
    request: HTTPConnection, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """The answer to a request that failed. No cache keeps it."""
    body = error_body(code, message, request.scope["state"]["request_id"], **more)
    headers = {"Cache-Control": "no-store"} | dict(headers or {})
    return Response(body, ERRORS[code].status, headers, "application/json")
