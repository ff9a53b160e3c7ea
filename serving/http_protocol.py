"""uvicorn's HTTP protocol, whose answer to bytes that are no HTTP request is the API's JSON error, too."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JsonHttpProtocol(HttpToolsProtocol):
    """Used by `nightloom serve`."""

    def send_400_response(self, msg: str) -> None:
        error = {"code": "bad_request", "message": "these bytes are no HTTP request; see the page of the API"}
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
