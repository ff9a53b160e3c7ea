"""The client for asyncio, on httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self, TypeVar, Unpack

import httpx

from nightloom_client import calls
from nightloom_client.answers import EventsResult, ItemDetails, RecommendationList
from nightloom_client.base import Caller, Options
from nightloom_client.calls import Answer, Call, Selection
from nightloom_client.errors import UnreachableError
from nightloom_client.retries import Send

Value = TypeVar("Value")


class AsyncClient(Caller):
    """One for an event loop: `async with AsyncClient(URL) as client`."""

    def __init__(self, url: str, **options: Unpack[Options]) -> None:
        super().__init__(url, **options)
        self._http = httpx.AsyncClient(headers=self._headers)

    async def recommendations(self, user: str, **selection: Unpack[Selection]) -> RecommendationList:
        """A user's list. Raises ClientError."""
        return await self._call(self._list(calls.user_path(user), selection))

    async def similar(self, item: str, **selection: Unpack[Selection]) -> RecommendationList:
        """Items similar to an item. Raises ClientError."""
        return await self._call(self._list(calls.similar_path(item), selection))

    async def popular(self, **selection: Unpack[Selection]) -> RecommendationList:
        """The popular list. Raises ClientError."""
        return await self._call(self._list("/v1/popular", selection))

    async def recommendations_of(
        self, users: Sequence[str], **selection: Unpack[Selection]
    ) -> list[RecommendationList]:
        """The lists of up to 1,000 users, in their order. Raises ClientError."""
        return await self._call(self._batch(users, selection))

    async def item(self, item: str) -> ItemDetails:
        """An item's title and categories. Raises ClientError."""
        return await self._call(self._item(item))

    async def send_events(self, events: Sequence[calls.Event], *, source: str | None = None) -> EventsResult:
        """Send up to 1,000 events; those that are accepted are durable.

        Raises ClientError: send the same events again then, as each counts once by its id.
        """
        return await self._call(self._events(events, source))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, call: Call[Value]) -> Value:
        steps = self._retries.steps()
        came: Answer | Exception | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                return self._read(call, end.value)
            except UnreachableError as error:
                return self._read(call, error)
            came = None
            if isinstance(step, Send):
                came = await self._try(call, step.timeout)
            else:
                await asyncio.sleep(step.seconds)

    async def _try(self, call: Call[Value], timeout: float) -> Answer | Exception:
        try:
            async with asyncio.timeout(timeout):
                response = await self._http.request(call.method, self._url + call.path, content=call.body, timeout=None)
        except (httpx.TransportError, TimeoutError) as error:
            return error
        return Answer(response.status_code, response.headers, response.content)
