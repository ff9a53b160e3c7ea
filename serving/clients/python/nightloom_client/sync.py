"""The client for threads: the standard library alone. Each thread keeps a connection."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Self, TypeVar, Unpack
from urllib.parse import urlsplit

from nightloom_client import calls
from nightloom_client.answers import EventsResult, ItemDetails, RecommendationList
from nightloom_client.base import Caller, Options
from nightloom_client.calls import Answer, Call, Selection
from nightloom_client.errors import UnreachableError
from nightloom_client.retries import Send

Value = TypeVar("Value")


class Client(Caller):
    """One for a program; threads may share it."""

    def __init__(self, url: str, **options: Unpack[Options]) -> None:
        super().__init__(url, **options)
        self._kept = threading.local()

    def recommendations(self, user: str, **selection: Unpack[Selection]) -> RecommendationList:
        """A user's list. Raises ClientError."""
        return self._call(self._list(calls.user_path(user), selection))

    def similar(self, item: str, **selection: Unpack[Selection]) -> RecommendationList:
        """Items similar to an item. Raises ClientError."""
        return self._call(self._list(calls.similar_path(item), selection))

    def popular(self, **selection: Unpack[Selection]) -> RecommendationList:
        """The popular list. Raises ClientError."""
        return self._call(self._list("/v1/popular", selection))

    def recommendations_of(self, users: Sequence[str], **selection: Unpack[Selection]) -> list[RecommendationList]:
        """The lists of up to 1,000 users, in their order. Raises ClientError."""
        return self._call(self._batch(users, selection))

    def item(self, item: str) -> ItemDetails:
        """An item's title and categories. Raises ClientError."""
        return self._call(self._item(item))

    def send_events(self, events: Sequence[calls.Event], *, source: str | None = None) -> EventsResult:
        """Send up to 1,000 events; those that are accepted are durable.

        Raises ClientError: send the same events again then, as each counts once by its id.
        """
        return self._call(self._events(events, source))

    def close(self) -> None:
        """Close this thread's connection."""
        connection = self._connections().pop(self._url, None)
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, call: Call[Value]) -> Value:
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
                came = self._try(call, step.timeout)
            else:
                time.sleep(step.seconds)

    def _try(self, call: Call[Value], timeout: float) -> Answer | Exception:
        for fresh in (False, True):
            kept = self._connections().get(self._url)
            if kept is not None and fresh:
                self.close()
            try:
                return self._send(call, timeout)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                self.close()
                if kept is None or fresh:  # else the server has closed an idle connection
                    return error
            except (OSError, http.client.HTTPException) as error:
                self.close()
                return error
        raise AssertionError("the second pass returns")

    def _send(self, call: Call[Value], timeout: float) -> Answer:
        connection = self._connection(timeout)
        connection.request(call.method, urlsplit(self._url).path + call.path, call.body, self._headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        kept = self._connections()
        if self._url not in kept:
            parts = urlsplit(self._url)
            assert parts.hostname is not None  # Caller has checked it
            if parts.scheme == "https":
                kept[self._url] = http.client.HTTPSConnection(
                    parts.hostname, parts.port, context=ssl.create_default_context()
                )
            else:
                kept[self._url] = http.client.HTTPConnection(parts.hostname, parts.port)
        connection = kept[self._url]
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection

    def _connections(self) -> dict[str, http.client.HTTPConnection]:
        """Of this thread."""
        found: dict[str, http.client.HTTPConnection] = self._kept.__dict__.setdefault("connections", {})
        return found
