"""The admin API: items leave the lists and come back, who and why are kept, and what is wrong is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from serving.stores import overlay
from serving.stores.overlay import MAX_ITEMS, Cause

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

BLOCKED, OUT_OF_STOCK = "/v1/admin/blocked", "/v1/admin/out-of-stock"
HOSTILE = '"><script>\u202e&item=x é'


@pytest.fixture
def client(project: Project) -> Client:
    project.plant_all().judge()
    project.publish()
    return project.client()


def hide(client: Client, path: str, *items: str, why: str = "recalled") -> Any:
    return client.request("POST", path, json={"items": items, "why": why})


def bring_back(client: Client, path: str, *items: str) -> Any:
    return client.request("DELETE", path, params={"item": items, "why": "checked"})


def test_items_leave_the_lists_and_come_back_and_who_and_why_are_kept(client: Client, project: Project) -> None:
    assert hide(client, BLOCKED, "3", "3", HOSTILE).json() == {"changed": ["3", HOSTILE], "unchanged": []}
    assert hide(client, BLOCKED, "3", "4").json() == {"changed": ["4"], "unchanged": ["3"]}
    assert hide(client, OUT_OF_STOCK, "3", why=" sold ").json() == {"changed": ["3"], "unchanged": []}
    assert overlay.read(project.store).hidden == {"3", "4", HOSTILE}
    assert bring_back(client, BLOCKED, "3", HOSTILE, "9").json() == {"changed": ["3", HOSTILE], "unchanged": ["9"]}
    found = client.get(BLOCKED).json()
    assert [(each["item_id"], each["why"]) for each in found["items"]] == [("4", "no key: recalled")]
    assert [(each["items"], each["added"], each["why"]) for each in found["changes"]] == [
        (["3", HOSTILE], False, "no key: checked"),
        (["4"], True, "no key: recalled"),
        (["3", HOSTILE], True, "no key: recalled"),
    ]
    assert client.get(OUT_OF_STOCK).json()["items"][0]["why"] == "no key: sold"
    shown = project.client().get("/v1/users/u1/recommendations").json()["items"]
    assert [each["item_id"] for each in shown] == ["5", "6", "1"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "items"),
        ({"items": [], "why": "so"}, "items"),
        ({"items": [""], "why": "so"}, "items.0"),
        ({"items": ["3"] * 1001, "why": "so"}, "items"),
        ({"items": ["x" * 1001], "why": "so"}, "items.0"),
        ({"items": "3", "why": "so"}, "items"),
        ({"items": ["3"]}, "why"),
        ({"items": ["3"], "why": " "}, "why"),
        ({"items": ["3"], "why": "two\nlines"}, "why"),
        ({"items": ["3"], "why": "x" * 501}, "why"),
        ({"items": ["3"], "why": "so", "by": "ann"}, "by"),
    ],
)
def test_a_wrong_body_is_refused_with_the_name_of_the_field(body: dict[str, Any], named: str, project: Project) -> None:
    answer = project.client().request("POST", BLOCKED, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert answer.json()["error"]["message"].startswith(f"{named}: ")
    assert overlay.read(project.store).hidden == frozenset()


@pytest.mark.parametrize(
    ("query", "named"), [("", "item"), ("?why=so", "item"), ("?item=3", "why"), ("?item=&why=so", "item.0")]
)
def test_a_wrong_query_is_refused_with_the_name_of_the_parameter(query: str, named: str, project: Project) -> None:
    answer = project.client().request("DELETE", f"{BLOCKED}{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{named}: ")


def test_a_set_that_is_full_is_named(client: Client, project: Project) -> None:
    overlay.add(project.store, Cause.BLOCKED, [str(number) for number in range(MAX_ITEMS)], "ann: all")
    answer = hide(client, BLOCKED, "more")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_items")
    assert "10,001 items would be blocked" in answer.json()["error"]["message"]


def test_other_methods_are_refused_with_those_that_there_are(client: Client) -> None:
    answer = client.request("PUT", BLOCKED)
    assert answer.status_code == 405
    assert {each.strip() for each in answer.headers["allow"].split(",")} == {"GET", "HEAD", "POST", "DELETE"}
    assert client.request("HEAD", BLOCKED).status_code == 200


def test_another_sites_page_cannot_hide_an_item(client: Client, project: Project) -> None:
    given = {"items": ["3"], "why": "so"}
    answer = client.request("POST", BLOCKED, json=given, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    assert overlay.read(project.store).hidden == frozenset()
