"""Each call of the API as a request, and what its answer means. No network here: both clients share this file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode

from nightloom_client.answers import EventsResult, ItemDetails, RecommendationList
from nightloom_client.errors import ApiError

Value = TypeVar("Value")
Event = Mapping[str, Any]
"""An event with the fields that its source declares in nightloom.toml, an id of its own among them."""


class Selection(TypedDict, total=False):
    """Which items a list may have, and how many. docs/api.md has more."""

    k: int
    """How many items; by default the server's `slate.k`."""
    exclude: Sequence[str]
    """Items that are not wanted, up to 10,000."""
    segment: str
    """The segment whose popular list fills the list, such as market=DE."""
    context: Sequence[str]
    """What is known of the reader, as NAME=VALUE."""
    category: Sequence[str]
    """Only items that have one of these categories."""
    attribute: Sequence[str]
    """Only items that have this value of an attribute, as NAME=VALUE."""
    page: str
    """`next` of the list before: the items that follow. Not for several users at once."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Value]):
    """A request, and how its JSON is read."""

    method: str
    path: str
    body: bytes | None
    read: Callable[[Any], Value]
    fallback: Callable[[], Value] | None = None
    """What stands for the answer that did not come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(self) -> ApiError:
        """The error in it, also where something in front of the API answered."""
        try:
            content = json.loads(self.body)
            error = content["error"]
            rejected = content.get("rejected", [])
            return ApiError(self.status, error["code"], error["message"], error.get("request_id", ""), rejected)
        except (ValueError, KeyError, TypeError, AttributeError):
            text = self.body[:200].decode(errors="replace")
            return ApiError(self.status, "unknown", f"found no error of Nightloom: {text!r}", "", [])


def list_call(
    path: str, make: Callable[[], RecommendationList] | None, fields: Mapping[str, Any]
) -> Call[RecommendationList]:
    """A call for one list. `fields` that are None or empty are left out."""
    return Call("POST", path, _body(fields), RecommendationList.of_json, make)


def user_path(user: str) -> str:
    return f"/v1/users/{quote(user, safe='')}/recommendations"


def similar_path(item: str) -> str:
    return f"/v1/items/{quote(item, safe='')}/similar"


def batch_call(
    users: Sequence[str], make: Callable[[], list[RecommendationList]] | None, selection: Selection
) -> Call[list[RecommendationList]]:
    """A call for the lists of up to 1,000 users, in their order."""
    return Call(
        "POST", "/v1/recommendations", _body({"users": users, **selection}),
        lambda content: [RecommendationList.of_json(each) for each in content["lists"]], make,
    )  # fmt: skip


def item_call(item: str) -> Call[ItemDetails]:
    return Call("GET", f"/v1/items/{quote(item, safe='')}", None, ItemDetails.of_json)


def events_call(events: Sequence[Event], source: str | None) -> Call[EventsResult]:
    """A call that sends up to 1,000 events."""
    query = f"?{urlencode({'source': source})}" if source else ""
    return Call("POST", f"/v1/events{query}", json.dumps(list(events)).encode(), EventsResult.of_json)


def _body(fields: Mapping[str, Any]) -> bytes:
    """Arguments as JSON; None is left to the server's default."""
    return json.dumps({name: value for name, value in fields.items() if value is not None}, default=list).encode()
