"""The answers of the routes, as the OpenAPI document describes them. Answers are made as bytes; tests compare them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal["live", "personal", "similar", "segment", "popular"]


class Schema(BaseModel):
    """The base: an answer has these names and no others."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Item(Schema):
    """An item of a list."""

    item_id: str = Field(examples=["50"])
    """The item."""
    title: str = Field(examples=["Star Wars (1977)"])
    """Its name; its id where nobody described it."""
    score: float = Field(examples=[0.8714])
    """Scores of one source can be compared, those of different ones cannot."""
    source: Source | None = None
    """The list that the item is from, where the answer has items from several."""


class ListAnswer(Schema):
    """A list."""

    items: list[Item]
    """Best first; `k` items, as long as the lists of the fallback chain have as many."""
    slate_version: str = Field(examples=["v000007"])
    """The published version that the list belongs to."""
    model_version: str = Field(examples=["3"])
    """The model that scored it; `none` where no model was champion."""
    generated_at: str = Field(examples=["2026-11-30T02:14:07Z"])
    """When it was scored, UTC."""
    source: Source
    """The list that the first item is from."""
    stale: bool
    """Whether the store is in trouble, so that this is the last good version."""
    next: str | None = Field(examples=["v000007.1c29d3f0b54f5a3e.10.5ad2c1b7"])
    """The `page` that follows; null where nothing is left."""
    age_seconds: int = Field(ge=0, examples=[38011])
    """Seconds since `generated_at`."""


class UserList(ListAnswer):
    """A user's list."""

    user: str = Field(examples=["196"])
    """The user, as asked for."""


class SimilarList(ListAnswer):
    """Items similar to an item."""

    item: str = Field(examples=["50"])
    """The item, as asked for."""


class PopularList(ListAnswer):
    """A popular list."""

    segment: str = Field(examples=["market=DE"])
    """The segment whose list it is; `all` is everybody."""


class BatchAnswer(Schema):
    """The lists of several users."""

    lists: list[UserList]
    """In the order of the request."""


class ItemAnswer(Schema):
    """An item."""

    item_id: str = Field(examples=["50"])
    """The item."""
    title: str = Field(examples=["Star Wars (1977)"])
    """Its name; its id where nobody described it."""
    categories: list[str] = Field(examples=[["Action", "Sci-Fi"]])
    """Its categories."""
    available: bool | None
    """Whether lists may have it; null in a stale answer that does not know it."""
    slate_version: str = Field(examples=["v000007"])
    """The published version that this is from."""
    stale: bool
    """Whether the store is in trouble, so that this is the last good version."""


class PushRecord(Schema):
    """One publish of a version."""

    version: int = Field(examples=[7])
    """Its number."""
    state: str = Field(examples=["CURRENT"])
    """See docs/stores.md."""
    night: str = Field(examples=["2026-11-29"])
    """The night whose lists it has."""
    changed_at: str = Field(examples=["2026-11-30T02:20:11+00:00"])
    """When the state changed."""
    reason: str | None
    """Why it failed."""
    note: str | None
    """What a person said of it."""


class StatusAnswer(BaseModel):
    """The served version: what its push recorded (night, model_version, counts, ...), and these."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    slate_version: str = Field(examples=["v000007"])
    """The version that is served."""
    age_seconds: int = Field(examples=[37522])
    """Seconds since it was published."""
    stale: bool
    """Whether the store is in trouble, so that this is the last good version."""
    trouble: str | None
    """What is wrong with the store."""
    pushes: list[PushRecord]
    """All recorded pushes, newest first."""


class HealthAnswer(Schema):
    """Whether lists can be read."""

    status: Literal["ok", "stale"]
    """`stale`: from the last good version, since the store is in trouble."""
    slate_version: str = Field(examples=["v000007"])
    """The version that answers come from."""
    trouble: str | None = None
    """What is wrong with the store."""


class RejectedEvent(Schema):
    """An event that was not taken."""

    index: int = Field(examples=[3])
    """Its place in the request, from 0."""
    field: str = Field(examples=["at"])
    """The field that is wrong."""
    found: str = Field(examples=["'yesterday'"])
    """What it has."""
    expected: str = Field(examples=["a timestamp"])
    """What it should have."""


class EventsAnswer(Schema):
    """What became of events."""

    accepted: int = Field(examples=[1])
    """How many are durable now."""
    rejected: list[RejectedEvent]
    """The others."""


class HiddenItem(Schema):
    """An item that no answer has."""

    item_id: str = Field(examples=["50"])
    """The item."""
    why: str = Field(examples=["ann: recalled by its maker"])
    """WHO: WHY."""
    at: str = Field(examples=["2026-11-30T09:12:44+00:00"])
    """Since when."""


class HiddenItemsChange(Schema):
    """One change of these items."""

    at: str = Field(examples=["2026-11-30T09:12:44+00:00"])
    """When."""
    items: list[str] = Field(examples=[["50"]])
    """The items that it changed."""
    added: bool = Field(examples=[True])
    """Whether they left the answers; false: they came back."""
    why: str = Field(examples=["ann: recalled by its maker"])
    """WHO: WHY."""


class HiddenItemsAnswer(Schema):
    """The items that no answer has."""

    items: list[HiddenItem]
    """In the order in which they left the answers."""
    changes: list[HiddenItemsChange]
    """The last ones, newest first."""


class ChangedItemsAnswer(Schema):
    """What a change did."""

    changed: list[str] = Field(examples=[["50"]])
    """The items that it changed."""
    unchanged: list[str] = Field(examples=[["181"]])
    """Those that were as it wanted them already."""


class ErrorDetails(Schema):
    """What went wrong."""

    code: str = Field(examples=["bad_request"])
    """A word for programs."""
    message: str = Field(examples=["k is '0', expected a whole number from 1 to 30 (slate.stored)"])
    """A sentence for people."""
    request_id: str = Field(examples=["checkout-17"])
    """The request's id, which the log has, too."""


class ErrorAnswer(Schema):
    """A request that failed."""

    error: ErrorDetails
    """What went wrong."""
    rejected: list[RejectedEvent] | None = None
    """With `bad_events`: each event and what is wrong with it."""


class ExplanationAnswer(BaseModel):
    """Why a user is shown an item: docs/explain.md."""

    model_config = ConfigDict(extra="allow")

    user: str = Field(examples=["196"])
    item_id: str = Field(examples=["50"])


class OpenApiDocument(BaseModel):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str = Field(examples=["3.1.1"])
    paths: dict[str, Any]
