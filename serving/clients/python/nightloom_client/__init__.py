"""A client of Nightloom's API: lists, items, events. `Client` needs the standard library alone, `AsyncClient` httpx."""

from typing import TYPE_CHECKING

from nightloom_client.answers import EventsResult as EventsResult
from nightloom_client.answers import Item as Item
from nightloom_client.answers import ItemDetails as ItemDetails
from nightloom_client.answers import RecommendationList as RecommendationList
from nightloom_client.answers import RejectedEvent as RejectedEvent
from nightloom_client.errors import ApiError as ApiError
from nightloom_client.errors import ClientError as ClientError
from nightloom_client.errors import UnreachableError as UnreachableError
from nightloom_client.sync import Client as Client

if TYPE_CHECKING:
    from nightloom_client.asynchronous import AsyncClient as AsyncClient

__all__ = [
    "ApiError", "AsyncClient", "Client", "ClientError", "EventsResult", "Item", "ItemDetails", "RecommendationList",
    "RejectedEvent", "UnreachableError",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """AsyncClient is loaded at its first use: httpx may be missing."""
    if name == "AsyncClient":
        from nightloom_client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
