"""Lists without the app: the same answers as the app's, and the app answers whatever is not plain."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import pytest

from benchmarks.fault_load import PROJECT, USERS, publish, running_api, write_config
from serving.access.keys import Scope, add_key, make_key
from serving.direct_lists import DirectLists
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
        return DirectLists(client.app).response(path.encode(), [HOST, *headers], SERVER)

    return asyncio.run(once())


def as_bytes(client: Client, path: str, **headers: str) -> bytes:
    """The app's answer, as the server writes it."""
    found = client.get(path, **headers)
    assert found.status_code == 200
    head = b"".join(b"%b: %b\r\n" % pair for pair in found.headers.raw)
    return head + b"\r\n" + found.content


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


def test_other_methods_are_the_apps(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for method, status in (("GET", 200), ("HEAD", 200), ("DELETE", 405), ("GET", 200)):
            connection.request(method, plain("u1"))
            answer = connection.getresponse()
            assert bool(answer.read()) == (method != "HEAD")
            assert answer.status == status


def read_json(answers: BinaryIO) -> dict[str, Any]:
    """One answer of a connection."""
    assert answers.readline().startswith(b"HTTP/1.1 200 ")
    head = http.client.parse_headers(answers)
    found: dict[str, Any] = json.loads(answers.read(int(head["content-length"])))
    return found
