"""The OpenAPI document says what the API does: every route is in it, and every answer is as it says."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.routing import Route

from serving.access import policy
from serving.api import ENDPOINTS, openapi_json
from serving.web.errors import ERRORS

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

DOCUMENT: dict[str, Any] = json.loads(openapi_json())
PATHS: dict[str, Any] = DOCUMENT["paths"]
OPERATIONS = [(path, method) for path in PATHS for method in PATHS[path] if method != "parameters"]
LISTS = [path for path, method in OPERATIONS if method == "post" and not path.startswith(("/v1/events", "/v1/admin"))]
HIDDEN: dict[str, dict[str, Any]] = {
    "post": {"json": {"items": ["9"], "why": "a test"}},
    "delete": {"params": {"item": "9", "why": "a test"}},
}
"""What the routes of /v1/admin are asked for."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    from tests.serving.conftest import CONFIG, Project

    root = tmp_path_factory.mktemp("openapi")
    (root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    project = Project(root)
    project.plant_all().judge()
    project.publish()
    return project.client()


@cache
def validator(path: str, method: str, status: int) -> Draft202012Validator:
    """Of the JSON that the document promises."""
    content = PATHS[path][method]["responses"][str(status)]["content"]
    return Draft202012Validator(content["application/json"]["schema"] | {"components": DOCUMENT["components"]})


def assert_as_documented(path: str, method: str, answer: Any) -> None:
    assert str(answer.status_code) in PATHS[path][method]["responses"], (path, answer.text[:300])
    if answer.status_code == 304:
        assert answer.content == b""
    elif path != "/metrics" or answer.status_code != 200:
        assert answer.headers["content-type"] == "application/json"
        validator(path, method, answer.status_code).validate(answer.json())
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert ERRORS[error["code"]].status == answer.status_code
        assert f"`{error['code']}`" in PATHS[path][method]["responses"][str(answer.status_code)]["description"]


def test_every_route_of_the_api_is_in_the_document(client: Client) -> None:
    routes = {
        (re.sub(r":\w+\}", "}", route.path), method.lower())
        for route in client.app.routes
        if isinstance(route, Route) and route.path.startswith(("/v1/", "/healthz", "/metrics"))
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert routes == set(OPERATIONS)


def test_the_document_is_served_and_a_client_that_has_it_gets_304(client: Client) -> None:
    answer = client.get("/v1/openapi.json")
    assert answer.json() == DOCUMENT
    assert answer.json()["openapi"].startswith("3.1.")
    assert client.get("/v1/openapi.json", if_none_match=answer.headers["etag"]).status_code == 304


def test_every_schema_is_a_schema_and_every_operation_has_words_and_errors() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for path, method in OPERATIONS:
        operation = PATHS[path][method]
        assert operation["summary"].endswith(".")
        assert "500" in operation["responses"]
        for parameter in operation.get("parameters", []):
            assert parameter["description"]
            Draft202012Validator.check_schema(parameter["schema"])
    names = [PATHS[path][method]["operationId"] for path, method in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_example_is_as_its_schema_says(path: str, method: str) -> None:
    operation = PATHS[path][method]
    (answer,) = (each for status, each in operation["responses"].items() if status in ("200", "202"))
    contents = [operation.get("requestBody", {}).get("content", {}), answer["content"]]
    for each in (content["application/json"] for content in contents if "application/json" in content):
        Draft202012Validator(each["schema"] | {"components": DOCUMENT["components"]}).validate(each["example"])


def asked(path: str, method: str) -> dict[str, Any]:
    """What a request of an operation has besides its path, as httpx takes it."""
    if path.startswith("/v1/admin"):
        return HIDDEN.get(method, {})
    return {"json": {"users": ["u1"]} if path == "/v1/recommendations" else {}} if method == "post" else {}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_answers_are_as_documented(client: Client, path: str, method: str) -> None:
    if path.endswith("/explain"):  # its own tests ask it: tests/serving/test_explain.py
        return
    for user, item in (("u1", "1"), ("nobody", "99")):
        answer = client.request(method, path.format(user=user, item=item), **asked(path, method))
        assert_as_documented(path, method, answer)
        missing = path == "/v1/events" or (path == "/v1/items/{item}" and item == "99")  # no source takes events
        assert answer.status_code == (404 if missing else 200)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_before_the_first_publish_the_answers_are_as_documented(project: Project, path: str, method: str) -> None:
    answer = project.client().request(method, path.format(user="u1", item="1"), **asked(path, method))
    if not path.endswith("/explain"):
        assert_as_documented(path, method, answer)


TEXT = st.text(max_size=12)
PAIR = st.builds("{}={}".format, st.sampled_from(["year", "market", "x", ""]), TEXT)
MANY = st.lists(TEXT | st.sampled_from(["1", "3", "Drama"]), max_size=5)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "k": st.integers(-1, 6) | st.just(10**20), "exclude": MANY, "segment": TEXT | st.just("market=DE"),
        "context": st.lists(PAIR | TEXT, max_size=3), "category": MANY, "attribute": st.lists(PAIR, max_size=3),
        "page": TEXT | st.from_regex(r"\Av\d{1,18}\.[0-9a-f]{16}\.\d{1,9}\.[0-9a-f]{8}\Z"),
        "users": MANY, "other": TEXT,
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(LISTS), name=TEXT.filter(bool) | st.just("u1"), fields=FIELDS)
def test_whatever_is_asked_the_answer_is_documented(
    client: Client, path: str, name: str, fields: dict[str, Any]
) -> None:
    url = path.format(user=quote(name, safe=""), item=quote(name, safe=""))
    assert_as_documented(path, "post", client.request("POST", url, json=fields))
    if path != "/v1/recommendations":
        query = urlencode(fields | {"exclude": ",".join(fields.get("exclude", []))}, doseq=True)
        assert_as_documented(path, "get", client.request("GET", f"{url}?{query}"))


def test_every_error_of_the_api_is_documented_somewhere() -> None:
    text = json.dumps(PATHS)
    assert {code for code in ERRORS if f"`{code}`" not in text} == {"method_not_allowed"}


def test_the_document_names_the_scope_that_the_guard_asks_for() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.scope == policy.RULES[endpoint.path].scope
