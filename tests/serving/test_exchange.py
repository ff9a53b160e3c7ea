"""What every answer has: an id, security headers, an ETag that a client can ask with, gzip, CORS where it is set."""

from __future__ import annotations

import json
import logging
from datetime import date
from typing import TYPE_CHECKING

import pytest

from serving.web.logs import JsonLines

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

NEXT = date(1998, 4, 22)
LIST = "/v1/users/u1/recommendations"
SHOP = "https://shop.example"


@pytest.fixture
def client(project: Project) -> Client:
    project.plant_all().judge()
    project.publish()
    return project.client()


def test_a_safe_request_id_is_kept_and_another_one_is_replaced(client: Client) -> None:
    assert client.get(LIST, x_request_id="checkout-17.a").headers["x-request-id"] == "checkout-17.a"
    made = [client.get(LIST, x_request_id=given).headers["x-request-id"] for given in ("a b", "", "<x>", "x" * 129)]
    assert len({*made, "a b", "", "<x>", "x" * 129}) == 8


def test_an_error_names_its_request(client: Client) -> None:
    answer = client.get("/v1/users/u1/recommendations?k=0", x_request_id="r1")
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == "r1"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [LIST, "/v1/popular", "/v1/items/1/similar", "/v1/items/1", "/v1/nothing", "/healthz"])
def test_no_browser_runs_or_frames_an_answer(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_page_runs_no_script_and_nobody_frames_it(client: Client) -> None:
    policy = client.get("/console/users?id=u1").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", [LIST, "/v1/popular", "/v1/items/1/similar", "/v1/items/1"])
def test_a_client_that_has_the_answer_gets_304_until_the_answer_changes(
    client: Client, project: Project, path: str
) -> None:
    first = client.get(path)
    etag = first.headers["etag"]
    assert first.headers["cache-control"].endswith("no-cache")
    assert ("private" in first.headers["cache-control"]) == ("/users/" in path)
    same = client.get(path, if_none_match=f'"other", {etag}')
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert client.get(path, if_none_match='"other"').status_code == 200
    assert client.get(path + "?k=1").headers["etag"] != etag or path == "/v1/items/1"
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, lists={"u1": ["9", "10", "11", "12"]})
    project.plant_similar(NEXT, i1=["5", "4"])
    project.judge(NEXT)
    project.publish(NEXT)
    changed = client.get(path, if_none_match=etag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_status_and_health_are_never_kept(client: Client) -> None:
    for path in ("/v1/status", "/healthz"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert "etag" not in headers


def test_a_long_answer_is_gzipped_for_those_who_take_it(client: Client) -> None:
    plain, zipped = (client.get("/v1/status", accept_encoding=each) for each in ("identity", "gzip, br"))
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.json().keys() == plain.json().keys()
    assert int(zipped.headers["content-length"]) < int(plain.headers["content-length"])
    assert "content-encoding" not in client.get("/healthz", accept_encoding="gzip").headers
    assert {"accept-encoding"} <= {each.strip().lower() for each in plain.headers["vary"].split(",")}


def test_scripts_of_declared_origins_may_ask(project: Project) -> None:
    project.configure("[slate]", f'[serving]\ncors_origins = ["{SHOP}"]\n\n[slate]')
    client = project.client()
    answer = client.get("/v1/popular", origin=SHOP)  # nothing is published: an error is readable, too
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "access-control-allow-origin" not in client.get("/v1/popular", origin="https://else.example").headers
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = client.request("OPTIONS", "/v1/popular", headers=asked)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, SHOP)
    assert "POST" in allowed.headers["access-control-allow-methods"]


def test_no_origin_may_ask_by_default(client: Client) -> None:
    assert "access-control-allow-origin" not in client.get("/v1/popular", origin=SHOP).headers


def test_an_unexpected_error_is_json_and_in_the_log_with_its_request(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret of the code")

    monkeypatch.setattr(client.app.state.lists, "ask", broken)
    answer = client.get(LIST, x_request_id="r2", authorization="Bearer nl_secret")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["code"], error["request_id"]) == ("internal", "r2")
    assert "secret" not in answer.text
    (record,) = [each for each in caplog.records if each.name == "serving.web.exchange"]
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["status"], line["request_id"], line["method"]) == ("error", 500, "r2", "GET")
    assert line["route"] == "/v1/users/{user:path}/recommendations"
    assert "secret of the code" in line["traceback"]
    assert "nl_secret" not in json.dumps(line)
    assert "u1" not in json.dumps({name: value for name, value in line.items() if name != "traceback"})


def test_each_request_is_a_line_where_the_access_log_is_on(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.plant_all().judge()
    project.publish()
    project.configure("[slate]", "[serving]\naccess_log = true\n\n[slate]")
    client = project.client()
    with caplog.at_level(logging.INFO, "serving.web.exchange"):
        answer = client.get("/v1/popular?k=2")
    (record,) = [each for each in caplog.records if each.name == "serving.web.exchange"]
    line = json.loads(JsonLines().format(record))
    assert (line["status"], line["bytes"], line["route"]) == (200, len(answer.content), "/v1/popular")
    assert 0 < line["ms"] < 60_000
    assert "k=2" not in json.dumps(line)


def test_a_line_of_the_log_is_one_line_of_ascii_whatever_it_says() -> None:
    record = logging.LogRecord("serving", logging.WARNING, "f.py", 1, "a\nb \u202e <script> %s", ("é",), None)
    text = JsonLines().format(record)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["message"] == "a\nb \u202e <script> é"
