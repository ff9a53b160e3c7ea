"""Keys before a real server: each endpoint by each scope, limits, rotation, sessions, addresses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.fault_load import PROJECT, publish, running_api, write_config
from benchmarks.servers import free_port
from nightloom.lake import now
from serving.access import policy
from serving.access.keys import NewKey, Scope, add_key, make_key, revoke_key, rotate_key
from serving.access.sessions import COOKIE
from serving.console import pages
from serving.stores import store_class

SECONDS_UNTIL_KNOWN = 10
"""A worker reads the keys each second; the rest is for a busy machine."""
ENDPOINTS: dict[str, tuple[str, Scope | None]] = {
    "/healthz": ("/healthz", None),
    "/v1/users/{user:path}/recommendations": ("/v1/users/u1/recommendations", Scope.READ),
    "/v1/popular": ("/v1/popular", Scope.READ),
    "/v1/items/{item:path}/similar": ("/v1/items/i1/similar", Scope.READ),
    "/v1/items/{item:path}": ("/v1/items/i1", Scope.READ),
    "/v1/status": ("/v1/status", Scope.READ),
    "/v1/openapi.json": ("/v1/openapi.json", None),
    "/v1/admin/blocked": ("/v1/admin/blocked", Scope.ADMIN),
    "/v1/admin/out-of-stock": ("/v1/admin/out-of-stock", Scope.ADMIN),
    "/v1/users/{user:path}/explain": ("/v1/users/u1/explain", Scope.PERSONAL),
    "/sign-in": ("/sign-in", None),
    "/console": ("/console", Scope.ADMIN),
    "/console/nights": ("/console/nights", Scope.ADMIN),
    "/console/nights/{night}": ("/console/nights/2026-03-14", Scope.ADMIN),
    "/console/nights/{night}/log": ("/console/nights/2026-03-14/log?stage=x", Scope.ADMIN),
    "/console/reports/{name}": ("/console/reports/2026-03-14", Scope.ADMIN),
    "/console/models": ("/console/models", Scope.ADMIN),
    "/console/users": ("/console/users?id=u1", Scope.PERSONAL),
    "/console/explain": ("/console/explain", Scope.PERSONAL),
    "/console/items": ("/console/items?id=i1", Scope.ADMIN),
    "/console/publishes": ("/console/publishes", Scope.ADMIN),
    "/console/data": ("/console/data", Scope.ADMIN),
    "/console/data/quarantine": ("/console/data/quarantine", Scope.ADMIN),
    "/console/data-docs/{page:path}": ("/console/data-docs/index.html", Scope.ADMIN),
    "/console/actions": ("/console/actions", Scope.ADMIN),
    "/console/actions/{name}": ("/console/actions/x", Scope.ADMIN),
    "/": ("/", None),
    "/user": ("/user?id=u1", None),
    "/explain": ("/explain?user=u1&item=i1", None),
    "/reports/{name}": ("/reports/2026-03-14", None),
    "/quality": ("/quality", None),
    "/data-docs/{page:path}": ("/data-docs/a/b.html", None),
}
"""A route's path -> a request for it, and the one scope that opens it."""
POSTS: dict[str, Scope | None] = {
    "/sign-in": None, "/sign-out": None, "/v1/events": Scope.EVENTS, "/v1/recommendations": Scope.READ,
    "/console/actions/{name}": Scope.ADMIN,
}  # fmt: skip


def folder(root: Path) -> Path:
    return root / "data" / "access"


def key(root: Path, name: str, *scopes: Scope, per_second: float = 1e4, burst: int = 10_000, **rest: object) -> str:
    """Make a key of a project -> the key."""
    new: NewKey = make_key(name, scopes, per_second, burst, **rest)  # type: ignore[arg-type]
    add_key(folder(root), new.key)
    return new.text


@contextmanager
def server(root: Path, *options: str, serving: str = "") -> Iterator[httpx.Client]:
    """A client of a real server of a project; each request has a connection of its own."""
    config = write_config(root, "lmdb")
    config.write_text(config.read_text(encoding="utf8") + serving, encoding="utf8")
    publish(store_class("lmdb")(str(root / "data" / "store"), PROJECT), 1)
    limits = httpx.Limits(max_keepalive_connections=0)
    with (
        running_api(config, log=root / "api.log", options=options) as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def keys(root: Path) -> dict[Scope, str]:
    """A key for each scope."""
    return {scope: key(root, f"only {scope}", scope) for scope in Scope}


@pytest.fixture(scope="module")
def client(root: Path, keys: dict[Scope, str]) -> Iterator[httpx.Client]:
    with server(root) as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_UNTIL_KNOWN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_route_is_in_the_table() -> None:
    rules = {path: rule for path, rule in policy.RULES.items() if rule.group is not policy.Group.METRICS}
    assert ENDPOINTS.keys() | POSTS.keys() == rules.keys()
    for path, rule in rules.items():
        assert rule.scope is (ENDPOINTS[path][1] if path in ENDPOINTS else POSTS[path]), path


def test_a_batch_opens_with_the_scope_read_alone(client: httpx.Client, keys: dict[Scope, str]) -> None:
    for scope, text in keys.items():
        answer = client.post("/v1/recommendations", json={"users": ["u1"]}, headers=bearer(text))
        assert answer.status_code == (200 if scope is Scope.READ else 403)
    assert client.post("/v1/recommendations", json={"users": ["u1"]}).status_code == 401


@pytest.mark.parametrize("path", ENDPOINTS)
def test_an_endpoint_opens_with_its_scope_alone(path: str, client: httpx.Client, keys: dict[Scope, str]) -> None:
    asked, needed = ENDPOINTS[path]
    for scope, text in keys.items():
        status = client.get(asked, headers=bearer(text)).status_code
        assert (status == 403) == (needed not in (None, scope)), (scope, status)
        assert status not in (401, 429, 500), (scope, status)
    without = client.get(asked)
    console = policy.RULES[path].group is policy.Group.CONSOLE
    moved = path in pages.MOVED
    assert without.status_code == (308 if moved else 200 if needed is None else 303 if console else 401)
    if needed and not console:
        assert without.headers["www-authenticate"].startswith("Bearer")
        assert without.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/console"),
        ("/user?id=a%2Fb%3C", "/console/users?id=a%2Fb%3C"),
        ("/explain?user=u1&item=i1", "/console/explain?user=u1&item=i1"),
        ("/reports/2026-03-14", "/console/reports/2026-03-14"),
        ("/quality", "/console/data"),
        ("/data-docs/a/b%22.html", "/console/data-docs/a/b%22.html"),
        ("/data-docs//evil.example", "/console/data-docs//evil.example"),
    ],
)
def test_an_earlier_address_leads_to_the_present_one(path: str, target: str, client: httpx.Client) -> None:
    assert client.get(path).headers["location"] == target


def test_events_are_taken_with_their_scope_alone(client: httpx.Client, keys: dict[Scope, str]) -> None:
    for scope, text in keys.items():
        status = client.post("/v1/events", json={}, headers=bearer(text)).status_code
        assert status == (404 if scope is Scope.EVENTS else 403), scope  # no source of this project is fed by the API
    assert client.post("/v1/events", json={}).status_code == 401


@pytest.mark.parametrize("path", ["/v1/admin/blocked", "/v1/admin/out-of-stock"])
def test_only_the_scope_admin_hides_items_and_shows_them_again(
    path: str, client: httpx.Client, keys: dict[Scope, str]
) -> None:
    ways: list[tuple[str, dict[str, Any]]] = [
        ("POST", {"json": {"items": ["i7"], "why": "recalled"}}),
        ("DELETE", {"params": {"item": "i7", "why": "checked"}}),
    ]
    for method, given in ways:
        for scope, text in keys.items():
            status = client.request(method, path, headers=bearer(text), **given).status_code
            assert status == (200 if scope is Scope.ADMIN else 403), (method, scope)
        assert client.request(method, path, **given).status_code == 401
    answer = client.get(path, headers=bearer(keys[Scope.ADMIN])).json()
    assert answer["items"] == []
    assert [(each["items"], each["added"], each["why"]) for each in answer["changes"]] == [
        (["i7"], False, "only admin: checked"), (["i7"], True, "only admin: recalled"),
    ]  # fmt: skip


def test_on_this_machine_metrics_need_no_key(client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 200


def test_a_wrong_key_is_refused_and_no_key_reaches_the_log_or_an_answer(
    client: httpx.Client, keys: dict[Scope, str], root: Path
) -> None:
    right = keys[Scope.READ]
    wrong = [right[:-1], f"{right}x", right.upper(), right.replace("_", "-"), "_", "x" * 5000, "a_b_c", "\xff\xfe"]
    for text in wrong:
        answer = client.get("/v1/popular", headers=[(b"Authorization", f"Bearer {text}".encode("latin1"))])
        assert answer.status_code == 401, text
        assert text == "_" or text not in answer.text
    for header in (right, f"Basic {right}", f"Bearer: {right}"):
        assert client.get("/v1/popular", headers={"Authorization": header}).status_code == 401
    assert client.get("/v1/popular", headers={"Authorization": f"bearer  {right}"}).status_code == 200
    assert client.get(f"/v1/popular?key={right}").status_code == 401
    written = (root / "api.log").read_text(encoding="utf8")
    assert [text for text in keys.values() if text.split("_")[2] in written] == []
    stored = (folder(root) / "keys.json").read_text(encoding="utf8")
    assert [text for text in keys.values() if text.split("_", 2)[2] in stored] == []


def test_a_new_key_a_rotated_one_and_a_revoked_one_are_known_within_seconds(client: httpx.Client, root: Path) -> None:
    def opens(text: str) -> bool:
        return client.get("/v1/popular", headers=bearer(text)).status_code == 200

    first = key(root, "shop", Scope.READ)
    until(lambda: opens(first))
    second = rotate_key(folder(root), "shop", timedelta(hours=1)).text
    until(lambda: opens(second))
    assert opens(first)  # the overlap
    third = rotate_key(folder(root), "shop", timedelta(0)).text
    until(lambda: opens(third) and not opens(second))
    revoke_key(folder(root), "shop")
    until(lambda: not opens(third) and not opens(first))


def test_an_expired_key_is_refused(client: httpx.Client, root: Path) -> None:
    text = key(root, "short", Scope.READ, expires_at=now() + timedelta(seconds=SECONDS_UNTIL_KNOWN))
    until(lambda: client.get("/v1/popular", headers=bearer(text)).status_code == 200)
    until(lambda: client.get("/v1/popular", headers=bearer(text)).status_code == 401)


def test_a_damaged_or_missing_file_of_keys_opens_nothing(
    client: httpx.Client, keys: dict[Scope, str], root: Path
) -> None:
    file = folder(root) / "keys.json"
    content = file.read_bytes()
    for damage in (lambda: file.write_bytes(content[:50]), file.unlink):
        damage()
        time.sleep(2.5)
        assert client.get("/v1/popular").status_code == 401
        assert client.get("/v1/popular", headers=bearer(keys[Scope.READ])).status_code == 200
    file.write_bytes(content)
    log = (root / "api.log").read_text(encoding="utf8")
    assert "is no file of keys" in log
    assert "is gone; the keys that were in it still count" in log


def sign_in(client: httpx.Client, text: str, **headers: str) -> httpx.Response:
    given = {"Sec-Fetch-Site": "same-origin"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/sign-in", data={"key": text, "next": "/console/data"}, headers=given)


def test_a_session_opens_the_console_and_nothing_else(client: httpx.Client, keys: dict[Scope, str]) -> None:
    away = client.get("/console/data?x=1")
    assert (away.status_code, away.headers["location"]) == (303, "/sign-in?next=%2Fconsole%2Fdata%3Fx%3D1")
    answer = sign_in(client, keys[Scope.ADMIN])
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/data")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert keys[Scope.ADMIN].split("_")[2] not in cookie
    value = cookie.split("=", 1)[1].split(";")[0]
    session = {"Cookie": f'other={{"a": 1}}; {COOKIE}={value}; =x'}  # cookies of other programs of this host, too
    assert "Signed in as only admin" in client.get("/console", headers=session).text
    assert client.get("/console/users?id=u1", headers=session).status_code == 403
    assert client.get("/v1/popular", headers=session).status_code == 401
    assert client.get("/v1/admin/blocked", headers=session).status_code == 401
    for changed in (value[:-1], value.replace(".", "..", 1), "", "x.1.y.z", prolonged(value)):
        assert client.get("/console", headers={"Cookie": f"{COOKIE}={changed}"}).status_code == 303


def test_a_key_for_users_alone_signs_in_to_their_page(client: httpx.Client, keys: dict[Scope, str]) -> None:
    answer = client.post("/sign-in", data={"key": keys[Scope.PERSONAL]}, headers={"Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/users")


def prolonged(cookie: str) -> str:
    """A session with a later end, and the signature of the earlier one."""
    id, end, *rest = cookie.split(".")
    return ".".join([id, str(int(end) + 1), *rest])


def test_a_session_ends_with_its_key(client: httpx.Client, root: Path) -> None:
    text = key(root, "operator", Scope.ADMIN)
    until(lambda: sign_in(client, text).status_code == 303)
    session = {"Cookie": sign_in(client, text).headers["set-cookie"].split(";")[0]}
    assert client.get("/console", headers=session).status_code == 200
    revoke_key(folder(root), "operator")
    until(lambda: client.get("/console", headers=session).status_code == 303)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://[::1"},
    ],
)
def test_another_sites_page_can_neither_sign_in_nor_out(
    headers: dict[str, str], client: httpx.Client, keys: dict[Scope, str]
) -> None:
    refused = client.post("/sign-in", data={"key": keys[Scope.ADMIN]}, headers=headers)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    assert client.post("/sign-out", headers=headers).status_code == 403
    assert client.post("/sign-out").status_code == 403  # no proof


def test_the_form_leads_to_no_other_site_and_shows_text_as_text(client: httpx.Client, keys: dict[Scope, str]) -> None:
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/\nx", ""):
        answer = client.post(
            "/sign-in", data={"key": keys[Scope.ADMIN], "next": target}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        assert answer.headers["location"] == "/console", target
    page = client.get("/sign-in", params={"next": '/"><script>alert(1)</script>'}).text
    assert "<script>" not in page
    assert sign_in(client, keys[Scope.READ]).status_code == 403
    assert sign_in(client, "nonsense").status_code == 401
    assert client.post("/sign-in", content=b"k" * 5000, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 413


def test_the_limit_of_a_key_counts_over_all_workers(tmp_path: Path) -> None:
    text = key(tmp_path, "slow", Scope.READ, per_second=0.1, burst=20)
    other = key(tmp_path, "other", Scope.READ)
    with server(tmp_path, "--workers", "2") as client:
        answers = [client.get("/v1/popular", headers=bearer(text)) for _ in range(40)]
        good = [answer for answer in answers if answer.status_code == 200]
        assert 20 <= len(good) <= 22, len(good)  # at one a ten seconds, hardly one more
        last = answers[-1]
        assert (last.status_code, last.json()["error"]["code"]) == (429, "too_many_requests")
        assert 1 <= int(last.headers["retry-after"]) <= 10
        assert client.get("/v1/popular", headers=bearer(other)).status_code == 200


def test_without_a_key_this_machine_is_answered_until_there_is_one(tmp_path: Path) -> None:
    with server(tmp_path) as client:
        assert "There is no key: only this machine is answered." in (tmp_path / "api.log").read_text(encoding="utf8")
        assert client.get("/v1/popular").status_code == 200
        assert client.get("/console").status_code == 200
        assert client.get("/console", headers={"Host": "evil.example"}).status_code == 403
        assert client.get("/sign-in").headers["location"] == "/console"
        text = key(tmp_path, "shop", Scope.READ)
        until(lambda: client.get("/v1/popular").status_code == 401)
        assert client.get("/v1/popular", headers=bearer(text)).status_code == 200


def test_groups_answer_at_their_own_addresses(tmp_path: Path) -> None:
    console = free_port()
    serving = f'\n[serving]\npersonal = "off"\nconsole = "127.0.0.1:{console}"\n'
    with server(tmp_path, serving=serving) as client:
        assert client.get("/v1/popular").status_code == 200
        assert client.get("/console").status_code == 404
        assert client.get("/v1/admin/blocked").status_code == 404
        assert client.get("/v1/users/u1/explain").status_code == 404
        at_console = f"http://127.0.0.1:{console}"
        assert client.get(f"{at_console}/console").status_code == 200
        assert client.get(f"{at_console}/v1/admin/blocked").status_code == 200
        assert client.get(f"{at_console}/healthz").status_code == 200
        assert client.get(f"{at_console}/v1/popular").status_code == 404
        assert client.get(f"{at_console}/v1/users/u1/explain").status_code == 404
