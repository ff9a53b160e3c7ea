"""Errors as JSON: {"error": {"code": .., "message": .., "request_id": ..}}."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import HTTPConnection
from starlette.responses import Response


def error_body(code: str, message: str, request_id: str) -> bytes:
    """The JSON of an error. `code` is a word of docs/api.md, `message` a sentence for people."""
    error = {"code": code, "message": message, "request_id": request_id}
    return json.dumps({"error": error}, ensure_ascii=False).encode("utf8", "replace")


def error_response(
    request: HTTPConnection, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request that failed. No cache keeps it."""
    body = error_body(code, message, request.scope["state"]["request_id"])
    return Response(body, status, {"Cache-Control": "no-store"} | dict(headers or {}), "application/json")
