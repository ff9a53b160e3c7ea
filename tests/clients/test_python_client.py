"""The Python client before a real server, and before one that fails as told: the sync and the async client alike."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nightloom_client
import pytest
from nightloom_client import ApiError, AsyncClient, Client, Item, UnreachableError

from benchmarks.fault_load import PROJECT, publish, running_api
from benchmarks.servers import free_port
from serving.access.keys import Scope, add_key, make_key
from serving.stores import store_class
from tests.serving.event_senders import config_text, event

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""
Ask = Callable[..., Any]
"""A method's name, its arguments -> what it returns. `url` and `options` are the client's."""


def ask_sync(method: str, *given: Any, url: str, options: dict[str, Any], **more: Any) -> Any:
    with Client(url, **options) as client:
        return getattr(client, method)(*given, **more)


def ask_async(method: str, *given: Any, url: str, options: dict[str, Any], **more: Any) -> Any:
    async def once() -> Any:
        async with AsyncClient(url, **options) as client:
            return await getattr(client, method)(*given, **more)

    return asyncio.run(once())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The address and a key of a real server with events."""
    root = tmp_path_factory.mktemp("client")
    (root / "nightloom.toml").write_text(config_text(), encoding="utf8")
    publish(store_class("lmdb")(str(root / "data" / "store"), PROJECT), 1)
    key = make_key("client", [Scope.READ, Scope.EVENTS], 1e4, 10_000)
    add_key(root / "data" / "access", key.key)
    with running_api(root / "nightloom.toml", log=root / "api.log") as (port, _):
        yield {"url": f"http://127.0.0.1:{port}", "options": {"key": key.text, "timeout": 20, "deadline": 60}}


def test_lists_items_and_pages(ask: Ask, server: dict[str, Any]) -> None:
    own = ask("recommendations", "u1", k=3, **server)
    assert (own.source, own.slate_version, own.stale, len(own.items)) == ("personal", "v000001", False, 3)
    assert own.items[0] == Item("i0", "1 i0", 1.0)
    following = ask("recommendations", "u1", k=3, page=own.next, **server)
    assert [item.item_id for item in following.items] == ["i3", "i4", "i5"]
    assert ask("recommendations", "a/b ?#%", k=2, exclude={"i0"}, **server).source == "popular"
    assert ask("similar", "i3", k=2, **server).source == "similar"
    assert ask("popular", segment="market=DE", k=2, **server).source == "segment"
    both = ask("recommendations_of", ["u2", "nobody"], k=1, **server)
    assert [each.source for each in both] == ["personal", "popular"]
    assert ask("item", "i3", **server).title == "1 i3"


def test_events_are_taken_and_a_bad_one_is_named(ask: Ask, server: dict[str, Any]) -> None:
    result = ask("send_events", [event("e1"), event("e2", t="yesterday")], **server)
    assert result.accepted == 1
    assert [(each.index, each.field) for each in result.rejected] == [(1, "t")]
    with pytest.raises(ApiError) as refused:
        ask("send_events", [event("e3", t="yesterday")], **server)
    assert (refused.value.status, refused.value.code) == (400, "bad_events")
    assert refused.value.rejected[0]["field"] == "t"


def test_an_error_of_the_request_is_raised_at_once(ask: Ask, server: dict[str, Any]) -> None:
    with_fallback = server | {"options": server["options"] | {"fallback": [Item("x", "X")]}}
    with pytest.raises(ApiError, match="400 bad_request: k is"):
        ask("popular", k=10_000, **with_fallback)
    with pytest.raises(ApiError, match="401 unauthorized"):
        ask("popular", **with_fallback | {"options": {"key": "wrong", "fallback": [Item("x", "X")]}})
    with pytest.raises(ApiError, match="404 unknown_item"):
        ask("item", "nothing", **server)


@dataclass
class Scripted:
    """A real HTTP server that answers what it is told, in order, and notes when it was asked."""

    answers: list[Reply] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def scripted(*answers: Reply) -> Iterator[Scripted]:
    found = Scripted([*answers])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found.asked.append(time.monotonic())
            if not found.answers:  # hang until the test ends
                found.silent.wait(30)
                self.close_connection = True
                return
            status, headers, body = found.answers.pop(0)
            self.send_response(status)
            for name, value in [("Content-Length", str(len(body))), *headers.items()]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        found.silent.set()
        server.shutdown()
        server.server_close()


GOOD: Reply = (200, {}, json.dumps({"items": [], "source": "popular", "field_of_a_later_server": 1}).encode())
BUSY: Reply = (503, {}, b'{"error": {"code": "busy", "message": "Later.", "request_id": "r1"}}')


def test_a_server_in_trouble_is_asked_again(ask: Ask) -> None:
    with scripted(BUSY, (502, {}, b"<html>"), GOOD) as server:
        assert ask("popular", url=server.url, options={"deadline": 30}).source == "popular"
        assert len(server.asked) == 3


def test_retry_after_is_waited_for(ask: Ask) -> None:
    with scripted((429, {"Retry-After": "1"}, b"{}"), GOOD) as server:
        ask("popular", url=server.url, options={"deadline": 30})
        first, second = server.asked
        assert second - first >= 1


def test_a_wait_beyond_the_deadline_is_not_begun(ask: Ask) -> None:
    with scripted((429, {"Retry-After": "60"}, BUSY[2]), GOOD) as server:
        with pytest.raises(ApiError, match=r"429 busy: Later. \(request r1\)"):
            ask("popular", url=server.url, options={})
        assert len(server.asked) == 1


def test_a_silent_server_ends_in_the_fallback_list_within_the_deadline(ask: Ask) -> None:
    fallback = [Item("1", "One"), Item("2", "Two"), Item("3", "Three")]
    options = {"timeout": 0.2, "deadline": 1.0, "fallback": fallback}
    with scripted() as server:
        began = time.monotonic()
        found = ask("recommendations", "u1", k=1, exclude=["1"], url=server.url, options=options)
        assert time.monotonic() - began < 10  # of a busy machine; 1 s of a calm one
        assert (found.source, found.stale, found.items) == ("fallback", True, (fallback[1],))
        assert len(server.asked) >= 2


def test_without_a_fallback_an_absent_server_is_an_error(ask: Ask) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match="no answer after 2 tries"):
        ask("popular", url=url, options={"tries": 2, "deadline": 30})
    batch = ask("recommendations_of", ["a", "b"], url=url, options={"tries": 1, "fallback": [Item("1", "One")]})
    assert [each.source for each in batch] == ["fallback", "fallback"]


def test_an_idle_connection_that_the_server_closed_costs_no_try() -> None:
    with scripted((200, {"Connection": "close"}, GOOD[2]), GOOD) as server, Client(server.url, tries=1) as client:
        client.popular()
        client.popular()
        assert len(server.asked) == 2


def test_an_address_without_a_scheme_is_named() -> None:
    with pytest.raises(ValueError, match="found the address 'localhost:8000', expected one such as"):
        Client("localhost:8000")


def test_the_package_needs_nothing_but_the_standard_library() -> None:
    folder = Path(nightloom_client.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import nightloom_client; print(nightloom_client.Client)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert "nightloom_client.sync.Client" in done.stdout, done.stderr
