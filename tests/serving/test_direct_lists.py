"""Lists without the app: the same answers as the app's, and the app answers whatever is not plain."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import pytest
import uvicorn
from uvicorn.server import ServerState

from benchmarks.fault_load import PROJECT, USERS, publish, running_api, write_config
from nightloom import settings as settings_module
from serving.access.keys import Scope, add_key, make_key, revoke_key
from serving.access.watched_keys import SECONDS
from serving.direct_lists import DirectLists
from serving.http_protocol import DIRECT_LISTS, JsonHttpProtocol
from serving.stores import overlay, store_class, versions
from serving.stores.overlay import Cause
from tests.serving.conftest import Client, Project

NEXT = date(1998, 4, 22)
SERVER = "127.0.0.1", 8000
HOST = (b"host", b"localhost")
CHANGING = re.compile(rb'x-request-id: .*\r\n|,"age_seconds":\d+')


@pytest.fixture
def client(project: Project) -> Client:
    project.plant_all().judge()
    project.publish()
    return project.client()


def ask(client: Client, path: str, *headers: tuple[bytes, bytes]) -> bytes | None:
    """The direct answer, in a turn of the event loop of its own."""

    async def once() -> bytes | None:
        lists, url = DirectLists(client.app), path.encode()
        user, caller = lists.user_of(url), lists.caller_of([HOST, *headers], SERVER)
        return None if user is None or caller is None else lists.response(user, caller, [])

    return asyncio.run(once())


def as_bytes(client: Client, path: str, **headers: str) -> bytes:
    """The app's answer, as the server writes it."""
    found = client.get(path, **headers)
    assert found.status_code == 200
    head = b"".join(b"%b: %b\r\n" % pair for pair in found.headers.raw)
    return b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + found.content


def plain(user: str) -> str:
    return f"/v1/users/{user}/recommendations"


@pytest.mark.parametrize("stored", [3, 4])
def test_a_direct_answer_is_the_apps(project: Project, stored: int) -> None:
    project.configure("stored = 4", f"stored = {stored}")
    project.plant_all().judge()
    project.publish()
    client = project.client()
    for user in ("u1", "u8"):
        direct = ask(client, plain(user))
        assert direct is not None
        assert CHANGING.sub(b"", direct) == CHANGING.sub(b"", as_bytes(client, plain(user)))


def test_the_id_of_a_request_comes_back(client: Client) -> None:
    direct = ask(client, plain("u1"), (b"x-request-id", b"web-7"))
    assert direct is not None
    assert b"x-request-id: web-7\r\n" in direct
    direct = ask(client, plain("u1"), (b"x-request-id", b"no id"))
    assert direct is not None
    assert b"no id" not in direct


@pytest.mark.parametrize(
    "path",
    [
        "/v1/popular", "/v1/users/recommendations", plain("nobody"), plain(""), plain(quote("u 1")),
        plain("u1") + "?k=2", plain("u1?k=2&x="), plain("u1#"), "http://localhost" + plain("u1"), plain("\xfc"),
    ],
)  # fmt: skip
def test_the_app_answers_other_paths(client: Client, path: str) -> None:
    assert ask(client, path) is None


@pytest.mark.parametrize(
    "header",
    [
        (b"accept-encoding", b"br, gzip"), (b"if-none-match", b"x"), (b"origin", b"https://shop.example"),
        (b"content-length", b"2"), (b"transfer-encoding", b"chunked"), (b"expect", b"100-continue"),
        (b"upgrade", b"h2c"),
    ],
)  # fmt: skip
def test_the_app_answers_what_has_a_condition_a_body_or_compression(
    client: Client, header: tuple[bytes, bytes]
) -> None:
    assert ask(client, plain("u1"), header) is None


def test_the_app_answers_for_a_list_with_a_blocked_item_and_for_a_damaged_store(
    client: Client, project: Project
) -> None:
    first = client.get(plain("u1")).json()["items"][0]["item_id"]
    overlay.add(project.store, Cause.BLOCKED, [first], "test: test")
    client = project.client()
    assert ask(client, plain("u1")) is None
    overlay.remove(project.store, Cause.BLOCKED, [first], "test: test")
    client = project.client()
    assert ask(client, plain("u1")) is not None
    (project.root / "data" / "store" / "v000001" / "data.mdb").write_bytes(b"")
    assert ask(client, plain("u1")) is None


def test_the_next_request_after_a_flip_or_a_rollback_reads_the_other_version(client: Client, project: Project) -> None:
    def version() -> bytes | None:
        direct = ask(client, plain("u1"))
        return None if direct is None else re.findall(rb'"slate_version":"(\w+)"', direct)[0]

    assert version() == b"v000001"
    project.plant_histories(NEXT)
    project.plant_lists(NEXT)
    project.judge(NEXT)
    project.publish(NEXT)
    assert version() == b"v000002"
    versions.rollback(project.store, "test")
    assert version() == b"v000001"


def test_a_refused_request_is_the_apps_and_takes_no_token(project: Project) -> None:
    made = make_key("web", [Scope.READ], per_second=0.001, burst=2)
    add_key(project.settings.place("access"), made.key)
    project.plant_all().judge()
    project.publish()
    client, known = project.client(), (b"authorization", f"Bearer {made.text}".encode())
    assert ask(client, plain("u1")) is None
    assert ask(client, plain("u1"), (b"authorization", b"Bearer x")) is None
    assert ask(client, plain("nobody"), known) is None
    for _ in range(2):
        assert ask(client, plain("u1"), known) is not None
    assert ask(client, plain("u1"), known) is None
    assert client.get(plain("u1"), authorization=f"Bearer {made.text}").status_code == 429


def test_both_ways_count(client: Client) -> None:
    ask(client, plain("u1"))
    client.get(plain("u1"))
    lines = client.get("/metrics").text.splitlines()
    route = 'route="/v1/users/{user:path}/recommendations"'
    assert f'nightloom_requests_total{{{route},status="200"}} 2' in lines
    assert 'nightloom_lists_total{source="personal",stale="false"} 2' in lines


def test_with_a_log_of_all_requests_the_app_answers_all(project: Project) -> None:
    assert DirectLists.of(project.client().app) is not None
    project.configure("[slate]", "[serving]\naccess_log = true\n[slate]")
    assert DirectLists.of(project.client().app) is None


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("direct")
    publish(store_class("lmdb")(str(folder / "data" / "store"), PROJECT), 1)
    with running_api(write_config(folder, "lmdb"), log=folder / "api.log") as (port, _):
        yield port


def test_requests_of_both_kinds_on_one_connection_are_answered_in_order(port: int) -> None:
    paths = [plain(user) + end for user, end in zip(USERS, ("", "", "?k=2", "", "?k=3", "?k=2", ""), strict=False)]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths))
        with connection.makefile("rb") as answers:
            found = [read_json(answers) for _ in paths]
    assert [(answer["user"], len(answer["items"])) for answer in found] == [
        (user, k) for user, k in zip(USERS, (10, 10, 2, 10, 3, 2, 10), strict=False)
    ]


@pytest.mark.parametrize(("version", "connection"), [(b"1.0", b"close"), (b"1.1", b"close")])
def test_a_connection_that_is_to_end_ends(port: int, version: bytes, connection: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as opened:
        opened.sendall(
            b"GET %b HTTP/%b\r\nHost: a\r\nConnection: %b\r\n\r\n" % (plain("u1").encode(), version, connection)
        )
        with opened.makefile("rb") as answer:
            assert json.loads(answer.read().partition(b"\r\n\r\n")[2])["user"] == "u1"


def test_a_head_that_comes_in_pieces_is_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as answers:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for piece in (b"GET /v1/users/u", b"1/recommendations HTTP/1.1\r\nHo", b"st: a\r\n", b"\r\n"):
                connection.sendall(piece)
            assert read_json(answers)["user"] == "u1"


def head_of(path: str, *lines: str) -> bytes:
    """The bytes of a GET."""
    return "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: a", *lines, "")).encode()


@contextmanager
def repeating(port: int) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A connection whose header lines the server knows, and its answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as answers:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for user in ("u1", "u2"):
            connection.sendall(head_of(plain(user)))
            assert read_json(answers)["user"] == user
        yield connection, answers


def test_a_repeated_head_that_comes_in_two_pieces_is_answered(port: int) -> None:
    with repeating(port) as (connection, answers):
        head = head_of(plain("u3"))
        for place in range(1, len(head)):
            connection.sendall(head[:place])
            time.sleep(0.001)
            connection.sendall(head[place:])
            assert read_json(answers)["user"] == "u3"


def test_bytes_that_are_cut_anywhere_are_answered_in_order(port: int) -> None:
    rng, heads, expected = random.Random(1), list[bytes](), list[tuple[str, int]]()
    for user in USERS:
        end, lines, k = rng.choice([("", (), 10), ("", (), 10), ("?k=2", (), 2), ("", ("X-Request-Id: a",), 10)])
        heads.append(head_of(plain(user) + end, *lines))
        expected.append((user, k))
    sent = b"".join(heads)
    places = sorted({0, len(sent), *rng.sample(range(len(sent)), 100), *accumulate(map(len, heads[:100]))})
    with repeating(port) as (connection, answers):
        found = list[tuple[str, int]]()
        reader = threading.Thread(
            target=lambda: found.extend((each["user"], len(each["items"])) for each in map(read_json, [answers] * 200))
        )
        reader.start()
        for first, last in pairwise(places):
            connection.sendall(sent[first:last])
            time.sleep(0.001)
        reader.join(20)
    assert found == expected


@pytest.mark.parametrize(
    "start",
    [
        b"GET /v1/users/u1/recommendations HTTP/1.1\r\nContent-Length: %d\r\nX: /recommendations HTTP/1.1\r\n"
        b"Host: a\r\n\r\n",
        b"POST /v1/users/u1/recommendations HTTP/1.1\r\nContent-Length: %d\r\nHost: a\r\n\r\n",
        b"GET /v1/users/u1?x=/recommendations HTTP/1.1\r\nContent-Length: %d\r\nHost: a\r\n\r\n",
    ],
)  # fmt: skip
def test_a_body_that_looks_like_a_repeated_request_is_a_body(port: int, start: bytes) -> None:
    body = head_of(plain("u9"))
    with repeating(port) as (connection, answers):
        for pieces in ([start % len(body) + body], [start % len(body), body]):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)
            connection.sendall(head_of(plain("u4")))
            users = [read_json(answers, b"").get("user") for _ in range(2)]
            assert users[1] == "u4"
            assert users[0] != "u9"


@pytest.mark.parametrize(
    "start",
    [
        b"GET /v1/users/u1 /recommendations HTTP/1.1\r\n", b"GET /v1/users/u\x001/recommendations HTTP/1.1\r\n",
        b"GET /v1/users/u1\r/recommendations HTTP/1.1\r\n", b"GET /v1/users/u1\t/recommendations HTTP/1.1\r\n",
        b"GET /v1/users/u1\n/recommendations HTTP/1.1\r\n", b"GET  /v1/users/u1/recommendations HTTP/1.1\r\n",
        b"GETS /v1/users/u1/recommendations HTTP/1.1\r\n", b"get /v1/users/u1/recommendations HTTP/1.1\r\n",
        b"GET /v1/users/u1/recommendations HTTP/1.1 \r\n", b"GET /v1/users/u1/recommendations HTTP/1.7\r\n",
        b"GET /v1/users/u1/recommendations HTTP/1.1\r\nHost : b\r\n",
    ],
)  # fmt: skip
def test_what_is_nearly_a_repeated_request_is_answered_as_on_a_new_connection(port: int, start: bytes) -> None:
    statuses = []
    for first in (b"", head_of(plain("u1"))):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            for each in (first, first, start + b"Host: a\r\n\r\n"):
                connection.sendall(each)
                time.sleep(0.02)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answers:
                statuses.append([int(each) for each in re.findall(rb"HTTP/1\.1 (\d+)", answers.read())])
    assert statuses[1] == [200, 200, *statuses[0]]


def test_a_repeated_answer_is_the_parsers_and_the_apps(port: int) -> None:
    with repeating(port) as (connection, answers):
        for user in USERS[:20]:
            found = []
            for head in (
                head_of(plain(user)), head_of(plain(user), "X: 1"), head_of(plain(user), "If-None-Match: x")
            ):  # fmt: skip
                connection.sendall(head)
                lines = b"".join(iter(answers.readline, b"\r\n"))
                length = re.search(rb"content-length: (\d+)", lines)
                assert length is not None
                answer = lines + b"\r\n" + answers.read(int(length[1]))
                found.append(re.sub(rb"\r\ndate: [^\r]*", b"", CHANGING.sub(b"", answer)))
            assert found[0] == found[1] == found[2]


def test_a_repeated_request_needs_its_key_and_is_counted_each_time(tmp_path: Path) -> None:
    publish(store_class("lmdb")(str(tmp_path / "data" / "store"), PROJECT), 1)
    config = write_config(tmp_path, "lmdb")
    access = settings_module.load(config).place("access")
    made, other = (make_key(name, [Scope.READ], per_second=0.001, burst=4) for name in ("web", "app"))
    add_key(access, made.key)
    add_key(access, other.key)

    def statuses(connection: http.client.HTTPConnection, text: str, times: int) -> list[int]:
        found = []
        for _ in range(times):
            connection.request("GET", plain("u1"), headers={"Authorization": f"Bearer {text}"})
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
        return found

    with (
        running_api(config, log=tmp_path / "api.log") as (port, _),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection,
    ):
        assert statuses(connection, made.text, 5) == [200, 200, 200, 200, 429]
        assert statuses(connection, other.text, 2) == [200, 200]
        revoke_key(access, other.key.id)
        time.sleep(2 * SECONDS)
        assert statuses(connection, other.text, 1) == [401]


def test_an_idle_connection_ends_some_time_after_its_last_request(client: Client) -> None:
    config = uvicorn.Config(client.app, http=JsonHttpProtocol, timeout_keep_alive=1, log_config=None, ws="none")
    config.load()

    async def seconds_open(requests: int) -> float:
        state = {DIRECT_LISTS: DirectLists(client.app)}
        server = await asyncio.get_running_loop().create_server(
            lambda: JsonHttpProtocol(config, ServerState(), state), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            started = time.monotonic()
            for _ in range(requests):
                writer.write(head_of(plain("u1")))
                await reader.readuntil(b"age_seconds")
                await asyncio.sleep(0.3)
            await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return time.monotonic() - started

    assert 1 <= asyncio.run(seconds_open(0)) < 2
    assert asyncio.run(seconds_open(6)) >= 5 * 0.3 + 1


def test_other_methods_are_the_apps(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for method, status in (("GET", 200), ("HEAD", 200), ("DELETE", 405), ("GET", 200)):
            connection.request(method, plain("u1"))
            answer = connection.getresponse()
            assert bool(answer.read()) == (method != "HEAD")
            assert answer.status == status


def read_json(answers: BinaryIO, status: bytes = b"200 ") -> dict[str, Any]:
    """One answer of a connection."""
    assert answers.readline().startswith(b"HTTP/1.1 " + status)
    head = http.client.parse_headers(answers)
    found: dict[str, Any] = json.loads(answers.read(int(head["content-length"])))
    return found
