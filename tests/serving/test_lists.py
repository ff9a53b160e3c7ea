"""Lists are full while the catalogue lasts: exclusions, filters, pages, segments, several users, query or body."""

from __future__ import annotations

import json
import time
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from serving.stores import versions
from serving.stores.pushes import POINTER

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

NEXT = date(1998, 4, 22)
LIST, POPULAR, BATCH = "/v1/users/u1/recommendations", "/v1/popular", "/v1/recommendations"
OWN = ["3", "4", "5", "6"]
EVERYBODYS = [str(number) for number in range(1, 13)]

PEOPLE = """
[[sources]]
name = "people"
kind = "users"
path = "people"
format = "json"
fields = { u = "string", m = "string", a = "string" }
columns = { user_id = "u" }
attributes = { market = "m", age = "a" }
"""


@pytest.fixture
def client(project: Project) -> Client:
    """u1 has a list of four, as long as they are stored; everybody's popular list has all twelve items."""
    project.configure("[slate]", f"{PEOPLE}\n[slate]")
    project.configure("stored = 4", 'stored = 4\nsegments = ["age", "market"]')
    publish(project)
    return project.client()


def publish(project: Project, day: date = date(1998, 4, 21), **lists: list[str]) -> None:
    if day == date(1998, 4, 21):
        project.plant_items()
    project.plant_histories(day)
    project.plant_lists(day, lists={"u1": OWN} | lists, popular=EVERYBODYS)
    project.plant_similar(day)
    project.judge(day, override="ann: short lists")
    project.publish(day)


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def sources(answer: dict[str, Any]) -> list[str]:
    return [item.get("source", answer["source"]) for item in answer["items"]]


def test_a_short_list_is_filled_from_the_chain_and_says_where_each_item_is_from(client: Client) -> None:
    answer = client.get(f"{LIST}?k=4&segment=market=DE&exclude=3,4").json()
    assert ids(answer) == ["5", "6", "1", "2"]  # the market's list is 5, 1
    assert sources(answer) == ["personal", "personal", "segment", "popular"]
    assert answer["source"] == "personal"
    assert "source" not in client.get(f"{LIST}?k=4").json()["items"][0]


def test_a_list_that_has_all_that_a_user_may_see_is_not_filled(client: Client, project: Project) -> None:
    publish(project, NEXT, u1=["7", "8"])
    answer = client.get(f"{LIST}?k=4").json()
    assert (ids(answer), answer["next"]) == (["7", "8"], None)
    assert ids(client.get(f"{LIST}?k=4&exclude=7").json()) == ["8"]
    first = client.get(f"{LIST}?k=1").json()
    second = client.get(f"{LIST}?k=1&page={first['next']}").json()
    assert (ids(first), ids(second), second["next"]) == (["7"], ["8"], None)
    nothing_left = client.get(f"{LIST}?k=4&exclude=7,8").json()
    assert (nothing_left["source"], ids(nothing_left)) == ("popular", ["1", "2", "3", "4"])


def test_exclusions_leave_a_full_list_while_the_catalogue_lasts(client: Client) -> None:
    for count in range(len(EVERYBODYS) + 1):
        excluded, left = EVERYBODYS[:count], EVERYBODYS[count:]
        answer = client.request("POST", LIST, json={"k": 3, "exclude": excluded}).json()
        assert len(answer["items"]) == min(3, len(left))
        assert set(ids(answer)) <= set(left)
        assert answer == client.get(f"{LIST}?k=3&exclude={','.join(excluded)}").json() | {
            "age_seconds": answer["age_seconds"]
        }


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pages_repeat_nothing_and_leave_nothing_out(client: Client, k: int) -> None:
    for path in (f"{LIST}?segment=market=DE", "/v1/items/1/similar?", POPULAR + "?"):
        answer = client.get(f"{path}&k={k}").json()
        listed = ids(answer)
        while answer["next"]:
            answer = client.get(f"{path}&k={k}&page={answer['next']}").json()
            assert answer["items"]
            listed += ids(answer)
        assert sorted(listed) == sorted(set(EVERYBODYS) - ({"1"} if "items/1" in path else set()))


def test_a_page_repeats_nothing_whatever_is_published_or_excluded_in_between(client: Client, project: Project) -> None:
    first = client.get(f"{LIST}?k=3").json()
    publish(project, NEXT, u1=["9", "3", "4", "5"])
    assert client.get(LIST).json()["slate_version"] == "v000002"
    second = client.get(f"{LIST}?k=3&exclude=6&page={first['next']}").json()
    assert second["slate_version"] == "v000001"
    assert (ids(first), ids(second)) == (["3", "4", "5"], ["1", "2", "7"])


def test_a_page_of_a_version_that_was_found_bad_or_pruned_has_expired(client: Client, project: Project) -> None:
    publish(project, NEXT, u1=["9", "3", "4", "5"])
    following = client.get(f"{LIST}?k=3").json()["next"]
    assert client.get(f"{LIST}?k=3&page={following}").status_code == 200
    versions.rollback(project.store, "ann: wrong")
    answer = client.get(f"{LIST}?k=3&page={following}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "page_expired")


@pytest.mark.parametrize("other", ["/v1/users/u2/recommendations", POPULAR, f"{LIST}?segment=market=DE"])
def test_a_page_of_another_list_has_expired(client: Client, other: str) -> None:
    following = client.get(f"{LIST}?k=3").json()["next"]
    assert client.get(f"{other}{'&' if '?' in other else '?'}page={following}").status_code == 410


def test_a_page_of_a_list_that_cannot_be_read_any_more_has_expired(client: Client, project: Project) -> None:
    following = client.get(f"{LIST}?k=3").json()["next"]
    publish(project, NEXT, u1=["9", "3", "4", "5"])
    client.get(LIST)
    project.settings.place("store").rename(project.root / "lost")
    assert client.get(f"{LIST}?k=3&page={following}").status_code == 410
    assert client.get(LIST).status_code == 200


def test_filters_leave_items_of_a_category_or_with_an_attribute(client: Client) -> None:
    assert ids(client.get(f"{LIST}?k=4&attribute=year=1995&attribute=year=2001").json()) == ["5", "11"]
    assert ids(client.get(f"{LIST}?k=2&category=Drama&attribute=year=1995").json()) == ["5"]
    assert ids(client.get(f"{LIST}?category=Comedy").json()) == []
    assert ids(client.get(f"{LIST}?k=2&category=Comedy&category=Drama").json()) == ["3", "4"]
    assert ids(client.get(f"{POPULAR}?attribute=colour=red").json()) == []
    assert client.get(f"{POPULAR}?category=Drama&k=4").json()["items"] == client.get(f"{POPULAR}?k=4").json()["items"]


def test_pages_go_on_within_a_filter(client: Client) -> None:
    filtered = f"{LIST}?k=1&attribute=year=1992&attribute=year=1995&attribute=year=2002"
    first = client.get(filtered).json()
    second = client.get(f"{filtered}&page={first['next']}").json()
    third = client.get(f"{filtered}&page={second['next']}").json()
    assert ids(first) + ids(second) + ids(third) == ["5", "2", "12"]
    assert third["next"] is None


def test_the_context_names_the_segments_that_fill_a_list(client: Client) -> None:
    answer = client.get("/v1/users/nobody/recommendations?context=device=tv&context=market=DE").json()
    assert (ids(answer), answer["source"]) == (["5", "1", "2"], "segment")
    body = {"context": ["market=DE", "age=30-39"], "k": 2}
    assert ids(client.request("POST", POPULAR, json=body).json()) == ["5", "1"]
    assert client.get("/v1/users/nobody/recommendations?context=device=tv").json()["source"] == "popular"


def test_a_batch_has_each_users_list_in_the_order_that_was_asked_for(client: Client) -> None:
    users = ["u2", "nobody", "u1", "u2", "a/b\u00e9"]
    answer = client.request("POST", BATCH, json={"users": users, "k": 2, "exclude": ["3"]}).json()
    assert [each["user"] for each in answer["lists"]] == users
    for each in answer["lists"]:
        single = client.request("POST", f"/v1/users/{each['user']}/recommendations", json={"k": 2, "exclude": ["3"]})
        assert each | {"age_seconds": 0} == single.json() | {"age_seconds": 0}


def test_a_batch_has_at_most_1000_users(client: Client) -> None:
    users = [f"stranger {number}" for number in range(1000)]
    answer = client.request("POST", BATCH, json={"users": users})
    assert [each["user"] for each in answer.json()["lists"]] == users
    for wrong in (["x"] * 1001, []):
        answer = client.request("POST", BATCH, json={"users": wrong})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("users: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty, expected a JSON object"),
        (b"{", "the body: Invalid JSON"),
        (b"[]", "the body: Input should be an object"),
        (b'{"exclud": ["1"]}', "exclud: Extra inputs are not permitted"),
        (b'{"exclude": "1"}', "exclude: Input should be a valid"),
        (b'{"exclude": [1]}', "exclude.0: Input should be a valid string; found 1"),
        (b'{"k": 0}', "k is '0', expected a whole number from 1 to 4 (slate.stored)"),
        (b'{"k": true}', "k"),
        (b'{"k": 1.5}', "k"),
        (b'{"context": ["DE"]}', "context.0: String should match pattern"),
        (b'{"page": "v1"}', "page is 'v1', expected the `next` of the answer before"),
        (b'{"exclude": ["' + b'","'.join([b"x"] * 10_001) + b'"]}', "exclude: Tuple should have at most 10000 items"),
    ],
)
def test_a_wrong_body_is_refused_by_name(client: Client, body: bytes, words: str) -> None:
    answer = client.request("POST", LIST, content=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_body_beyond_the_bound_is_refused(client: Client) -> None:
    body = json.dumps({"exclude": ["x" * 2_000_000]})
    answer = client.request("POST", LIST, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


def test_during_a_canary_a_batch_gives_each_user_the_version_that_a_single_request_gives(
    client: Client, project: Project
) -> None:
    publish(project, NEXT, u1=["9", "3", "4", "5"])
    project.store.write_note(POINTER, "v000001 v000002 0.5 2100-01-01T00:00:00Z")
    users = [f"u{number}" for number in range(1, 20)]
    versions, deadline = set[str](), time.monotonic() + 10  # a reader follows the pointer within a second
    while versions != {"v000001", "v000002"}:
        assert time.monotonic() < deadline, versions
        lists = client.request("POST", BATCH, json={"users": users}).json()["lists"]
        versions = {each["slate_version"] for each in lists}
    for user, each in zip(users, lists, strict=True):
        single = client.get(f"/v1/users/{user}/recommendations?k=1").json()
        assert (each["user"], each["slate_version"]) == (user, single["slate_version"])
        if single["next"]:
            following = client.get(f"/v1/users/{user}/recommendations?k=1&page={single['next']}").json()
            assert following["slate_version"] == single["slate_version"]
