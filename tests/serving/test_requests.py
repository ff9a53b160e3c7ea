"""Whatever bytes a client sends, a real API process answers with the documented JSON, and never with a 500."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator

import pytest

from benchmarks.fault_load import PROJECT, publish, running_api, write_config
from serving.stores import store_class

HOST = b"Host: localhost\r\n"
LONG = b"x" * 5000
HOSTILE: dict[bytes, int] = {
    b"GET /v1/users/%/recommendations": 200,
    b"GET /v1/users/%zz%f/recommendations": 200,
    b"GET /v1/users/%ff%fe/recommendations": 200,
    b"GET /v1/users/%00/recommendations?segment=%00": 200,
    b"GET /v1/users/%ED%A0%80/recommendations": 200,
    b"GET /v1/users//recommendations": 200,
    b"GET /v1/users/" + LONG + b"/recommendations?segment=" + LONG: 200,
    b"GET /v1/users/..%2f..%2fetc/recommendations": 200,
    b"GET /v1/users/' OR 1=1 --/recommendations": 400,
    b"GET /v1/users/u1/recommendations?k=0": 400,
    b"GET /v1/users/u1/recommendations?k=-1": 400,
    b"GET /v1/users/u1/recommendations?k=" + b"9" * 5000: 400,
    b"GET /v1/users/u1/recommendations?k=1e3": 400,
    b"GET /v1/users/u1/recommendations?k=%00": 400,
    b"GET /v1/users/u1/recommendations?k=%FF": 400,
    b"GET /v1/users/u1/recommendations?k=NaN": 400,
    b"GET /v1/users/u1/recommendations?k=%C2%B2": 400,
    b"GET /v1/users/u1/recommendations?k=": 400,
    b"GET /v1/users/u1/recommendations?k=1&k=2": 200,
    b"GET /v1/users/u1/recommendations?exclude=" + b",".join([b"i1"] * 5000): 200,
    b"GET /v1/users/u1/recommendations?exclude=%ff,,,%00&exclude=%": 200,
    b"GET /v1/users/u1/recommendations?exclude=" + b"," * 10_001: 400,
    b"GET /v1/users/u1/recommendations?&&==&%=%": 200,
    b"GET /v1/popular?segment[]=1&segment=%7B%7D": 200,
    b"GET /v1/items/%00/similar": 200,
    b"GET /v1/items/%ff": 404,
    b"GET /v1/items/": 404,
    b"GET /v1/items": 404,
    b"GET /v1/status?x=" + LONG: 200,
    b"GET /v1/status?x=" + 10 * LONG: 414,
    b"GET /v1/users/u1/explain": 400,
    b"GET /": 308,
    b"GET /console": 200,
    b"GET /nothing/%00/" + LONG: 404,
    b"GET //": 404,
    b"GET *": 404,
    b"GET http://[::1/v1/popular": 400,
    b"POST /v1/popular": 400,
    b"POST /v1/recommendations": 400,
    b"POST /v1/status": 405,
    b"GET /v1/recommendations": 405,
    b"GET /v1/popular?page=v000001.0.1": 400,
    b"GET /v1/popular?page=v000001.0123456789abcdef.999999999.01234567": 410,
    b"GET /v1/popular?context=DE": 400,
    b"GET /v1/popular?category=%00&attribute==": 400,
    b"GET /v1/popular?category=%00&attribute=a=%FF": 200,
    b"DELETE /v1/users/u1/recommendations": 405,
    b"PROPFIND /healthz": 405,
    b"BREW /healthz": 400,
    b"GET /reports/%00": 308,
    b"GET /data-docs/..%2f..%2fnightloom.toml": 308,
    b"GET /console/reports/%00": 404,
    b"GET /console/reports/" + LONG: 404,
    b"GET /console/reports/2026-99-99": 404,
    b"GET /console/data-docs/%00.html": 404,
    b"GET /console/data-docs/" + LONG + b".html": 404,
    b"GET /console/data-docs/..%2f..%2fnightloom.toml": 404,
}
"""Method and target -> status. Bytes beyond the last space of a target with spaces are no HTTP version."""
HEADERS: dict[bytes, int] = {
    b"": 200,
    b"Host: [::1\r\n": 200,
    b"Host: a\r\nHost: b\r\n": 200,
    b"Host: \xff\xfe\r\n": 200,
    b"Accept: " + LONG + b"\r\n" + HOST: 200,
    b"Content-Length: -1\r\n" + HOST: 400,
    b"Content-Length: " + b"9" * 40 + b"\r\n" + HOST: 400,
    b"Transfer-Encoding: nonsense\r\n" + HOST: 400,
    b"no colon\r\n" + HOST: 400,
    b"X: " + 10 * LONG + b"\r\n" + HOST: 431,
    b"X: 1\r\n" * 9000 + HOST: 431,
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + HOST: 200,
    b'Range: bytes=-\r\nIf-None-Match: "\r\nCookie: ;;==\r\n' + HOST: 200,
}
FUZZED = ((b"/v1/users/", b"/recommendations"), (b"/v1/items/", b"/similar"), (b"/v1/items/", b""), (b"/v1/", b""))
PAGES = (b"GET /console",)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("requests")
    publish(store_class("lmdb")(str(folder / "data" / "store"), PROJECT), 1)
    log = folder / "api.log"
    with running_api(write_config(folder, "lmdb"), log=log) as (port, _):
        yield port
    assert "Traceback" not in log.read_text(encoding="utf8")


def send(port: int, raw: bytes) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(raw)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split(b" ")[1])
            headers = dict[str, str]()
            while line := answer.readline().decode("latin1").strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            return status, headers.get("content-type", ""), answer.read(int(headers["content-length"]))


def assert_documented(raw: bytes, status: int, kind: str, body: bytes) -> None:
    assert status < 500, (raw[:200], body[:400])
    if status == 308:  # an earlier address of the console
        assert (kind, body) == ("", b"")
        return
    if raw.startswith(PAGES):
        assert "text/html" in kind
        return
    assert "application/json" in kind, (raw[:200], status, kind, body[:200])
    content = json.loads(body)
    if status >= 400:
        assert content["error"].keys() == {"code", "message", "request_id"}
        assert content["error"]["message"]


def test_hostile_paths_parameters_and_methods_get_documented_answers(port: int) -> None:
    wrong = {}
    for target, expected in HOSTILE.items():
        raw = target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        status, kind, body = send(port, raw)
        assert_documented(raw, status, kind, body)
        if status != expected:
            wrong[target[:200]] = status, expected, body[:200]
    assert not wrong


def test_hostile_headers_get_documented_answers(port: int) -> None:
    for headers, expected in HEADERS.items():
        raw = b"GET /v1/popular HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n"
        status, kind, body = send(port, raw)
        assert_documented(raw, status, kind, body)
        assert status == expected, (headers[:200], body[:300])


def test_random_bytes_in_every_place_of_a_request_never_give_a_500(port: int) -> None:
    dice = random.Random(7)
    for _ in range(400):
        user, value = (any_text(dice) for _ in range(2))
        name = dice.choice([b"k", b"exclude", b"segment", b"item", any_text(dice)])
        route = dice.choice(
            [b"/v1/users/%s/recommendations", b"/v1/items/%s/similar", b"/v1/items/%s", b"/v1/popular/%s"]
        )
        raw = b"GET " + route.replace(b"%s", user) + b"?" + name + b"=" + value + b" HTTP/1.1\r\n"
        raw += HOST + b"Connection: close\r\n\r\n"
        assert_documented(raw, *send(port, raw))


def any_text(dice: random.Random) -> bytes:
    """Some bytes, a part of them percent-encoded, well or badly."""
    parts = [
        b"%" + bytes(dice.choices(b"0123456789abcdefXg%", k=2)),
        bytes([dice.randrange(33, 256)]),
        b"%00",
        b"%F0%9F%98%80",
    ]
    return b"".join(dice.choices(parts, k=dice.randrange(12))).replace(b"?", b"").replace(b"#", b"")
