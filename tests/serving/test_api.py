"""api.py over a real store: full lists for anybody, exclusions, clear refusals, a flip seen at the next request."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import pytest

from serving.stores import versions

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

NEXT = date(1998, 4, 22)


@pytest.fixture
def client(project: Project) -> Client:
    """The API over a project with one night published."""
    project.plant_all().judge()
    project.publish()
    return project.client()


def ids(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_known_user_gets_their_own_list_with_titles(client: Client) -> None:
    answer = client.get("/v1/users/u1/recommendations")
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found.pop("age_seconds") > 800_000_000
    following = found.pop("next")
    assert following.startswith("v000001.")
    assert found == {
        "user": "u1",
        "items": [
            {"item_id": "3", "title": 'Film "3" <é>', "score": 9.5},
            {"item_id": "4", "title": 'Film "4" <é>', "score": 8.5},
            {"item_id": "5", "title": 'Film "5" <é>', "score": 7.5},
        ],
        "slate_version": "v000001", "model_version": "7", "generated_at": "1998-04-21T12:00:05Z",
        "source": "personal", "stale": False,
    }  # fmt: skip


@pytest.mark.parametrize("user", ["nobody", "a/b", "%C3%A9", "%00", "x" * 2000, "%22%5C"])
def test_an_unknown_user_gets_the_popular_list_whatever_the_id(client: Client, user: str) -> None:
    answer = client.get(f"/v1/users/{user}/recommendations").json()
    assert (answer["source"], ids(answer)) == ("popular", ["1", "2", "3"])


def test_k_and_exclusions_are_obeyed(client: Client) -> None:
    assert ids(client.get("/v1/users/u1/recommendations?k=4").json()) == ["3", "4", "5", "6"]
    assert ids(client.get("/v1/users/u1/recommendations?k=2&exclude=3,5").json()) == ["4", "6"]


def test_a_list_of_which_nothing_is_left_gives_way_to_the_popular_one(client: Client) -> None:
    answer = client.get("/v1/users/u1/recommendations?exclude=3,4,5,6").json()
    assert (answer["source"], ids(answer), answer["next"]) == ("popular", ["1", "2"], None)


@pytest.mark.parametrize("k", ["0", "5", "-1", "ten", "", "1.5", "²"])
def test_an_impossible_k_is_refused_with_the_range(client: Client, k: str) -> None:
    answer = client.get(f"/v1/users/u1/recommendations?k={k}")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"k is {k!r}, expected a whole number from 1 to 4 (slate.stored)"


def test_popular_items_and_status_answer(client: Client) -> None:
    assert ids(client.get("/v1/popular?k=1&segment=nobody").json()) == ["1"]
    assert client.get("/v1/items/3").json()["categories"] == ["Drama"]
    assert client.get("/v1/items/99").status_code == 404
    status = client.get("/v1/status").json()
    assert (status["night"], status["slate_version"], status["pushes"][0]["state"]) == (
        "1998-04-21", "v000001", "CURRENT",
    )  # fmt: skip
    assert client.get("/healthz").json() == {"status": "ok", "slate_version": "v000001"}


def test_similar_items_and_the_popular_list_where_there_are_none(client: Client) -> None:
    answer = client.get("/v1/items/1/similar").json()
    assert answer["items"][0] == {"item_id": "2", "title": 'Film "2" <é>', "score": 2.0, "source": "similar"}
    assert (answer["item"], answer["source"], answer["model_version"]) == ("1", "similar", "7")
    assert [(item["item_id"], item["source"]) for item in answer["items"]] == [
        ("2", "similar"), ("4", "similar"), ("3", "popular"),
    ]  # fmt: skip
    assert ids(client.get("/v1/items/1/similar?k=1&exclude=2").json()) == ["4"]
    for item in ("3", "nobody", "a/b", "1/similar"):
        answer = client.get(f"/v1/items/{item}/similar?k=4").json()
        expected = [other for other in ("1", "2", "3", "4") if other != item]
        assert (answer["source"], ids(answer)) == ("popular", expected)
    assert ids(client.get("/v1/items/2/similar?exclude=1").json()) == ["3", "4"]


def test_a_stranger_of_a_segment_gets_its_list(client: Client) -> None:
    asked = "/v1/users/nobody/recommendations?segment=market=DE"
    answer = client.get(asked).json()
    assert (answer["source"], ids(answer)) == ("segment", ["5", "1", "2"])
    assert [item["source"] for item in answer["items"]] == ["segment", "segment", "popular"]
    answer = client.get(f"{asked}&exclude=5,1").json()
    assert (answer["source"], ids(answer)) == ("popular", ["2", "3", "4"])
    assert client.get("/v1/users/nobody/recommendations?segment=market=XX").json()["source"] == "popular"
    assert client.get("/v1/users/u1/recommendations?segment=market=DE").json()["source"] == "personal"
    assert ids(client.get("/v1/popular?segment=market=DE&k=2").json()) == ["5", "1"]


def test_an_unknown_path_is_a_json_error(client: Client) -> None:
    answer = client.get("/v2/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_before_the_first_publish_everything_says_so_with_503(project: Project) -> None:
    client = project.client()
    for path in ("/healthz", "/v1/users/u1/recommendations", "/v1/popular", "/v1/status"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "nothing is published yet; run a night first" in answer.json()["error"]["message"]


def test_the_next_request_after_a_flip_or_a_rollback_reads_the_other_version(client: Client, project: Project) -> None:
    project.plant_histories(NEXT)
    project.plant_lists(NEXT, lists={"u1": ["9", "10", "11", "12"]})
    project.judge(NEXT)
    project.publish(NEXT)
    assert ids(client.get("/v1/users/u1/recommendations").json()) == ["9", "10", "11"]
    versions.rollback(project.store, "test")
    answer = client.get("/v1/users/u1/recommendations").json()
    assert (answer["slate_version"], ids(answer)) == ("v000001", ["3", "4", "5"])


def test_with_the_store_gone_the_last_good_lists_go_on_marked_stale(client: Client, project: Project) -> None:
    fresh = client.get("/v1/users/u1/recommendations").json()
    project.settings.place("store").rename(project.root / "lost")
    found = client.get("/v1/users/u1/recommendations").json()
    assert found | {"age_seconds": 0} == fresh | {"stale": True, "age_seconds": 0}
    assert json.loads(client.get("/healthz").content)["status"] == "stale"
