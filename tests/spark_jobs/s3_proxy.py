"""A proxy before an S3 server that spoils some PUTs, chosen by the key: see Fault."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

LOST, CONFLICT, DEAF = "lost", "conflict", "deaf"
"""In a key: the first PUT is done and its answer lost; the first PUT is answered by 409. In a bucket's name: every PUT
with a condition is answered by 200."""
CONFLICT_BODY = b"<Error><Code>ConditionalRequestConflict</Code><Message>try again</Message></Error>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_address = ""
    seen: set[str]

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.fault()
        if fault == CONFLICT:
            self.answer(409, {}, CONFLICT_BODY)
        elif fault == DEAF:
            self.answer(200, {"ETag": '"0123456789abcdef0123456789abcdef"'}, b"")
        else:
            self.ask_server(body, lost=fault == LOST)

    def ask_server(self, body: bytes, lost: bool) -> None:
        with closing(HTTPConnection(self.server_address)) as upstream:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            found = upstream.getresponse()
            content = found.read()
        if lost:
            self.close_connection = True
            self.connection.close()
            return
        headers = dict(found.getheaders())
        headers.pop("Transfer-Encoding", None)
        self.answer(found.status, headers, content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

    def fault(self) -> str:
        if self.command != "PUT" or "If-None-Match" not in self.headers:
            return ""
        if DEAF in self.path.split("/")[1]:
            return DEAF
        key = self.path.rsplit("/", 1)[-1]
        found = next((fault for fault in (LOST, CONFLICT) if fault in key and key not in self.seen), "")
        self.seen.add(key)
        return found

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def spoiling_proxy(address: str) -> Iterator[str]:
    """A proxy before the server at HOST:PORT -> its own HOST:PORT."""
    handler = type("Handler", (Handler,), {"server_address": address, "seen": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{proxy.server_port}"
        proxy.shutdown()
