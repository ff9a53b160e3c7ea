"""A route of the API with what it takes and gives: the routes and the OpenAPI document are made from the same list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc, iscoroutinefunction
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Endpoint:
    """One path. Its handler's docstring is its description."""

    path: str
    """As Starlette writes it: /v1/items/{item:path}."""
    handler: Callable[..., Any]
    answer: type[BaseModel] | None
    """What 200 has; None for text that is not JSON."""
    errors: tuple[str, ...] = ()
    """Codes of serving/web/errors.py that are this path's own."""
    query: type[BaseModel] | None = None
    """Parameters of a GET; None where it has none."""
    body: type[BaseModel] | None = None
    """JSON of a POST; None where there is no POST."""
    status: int = 200
    """Of the answer."""
    scope: str | None = "read"
    """What a key needs; None: no key."""
    get: bool = True
    """Whether it takes GET."""
    caches: bool = False
    """Whether the answer to GET has an ETag."""

    @property
    def methods(self) -> tuple[str, ...]:
        return (*(("GET",) if self.get else ()), *(("POST",) if self.body else ()))

    @property
    def description(self) -> str:
        return cleandoc(self.handler.__doc__ or "")

    def route(self) -> Route:
        kind = DirectRoute if iscoroutinefunction(self.handler) else Route
        return kind(self.path, self.handler, methods=list(self.methods))


class DirectRoute(Route):
    """A route of one text between two fixed ones: found without a pattern, called without further layers.

    Starlette wraps each handler into one that looks for the handler of an error; the app's ExceptionMiddleware does the
    same again.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        self._start, between, rest = path.partition("{")
        name, _, self._end = rest.partition(":path}")
        self._name = name if between and "{" not in self._end else None

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = call

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"]
        if self._name is None or scope.get("root_path") or scope["type"] != "http":
            return super().matches(scope)
        start, end = self._start, self._end
        if not (path.startswith(start) and path.endswith(end) and len(path) >= len(start) + len(end)):
            return Match.NONE, {}
        given = {self._name: path[len(start) : len(path) - len(end)]}
        found = Match.FULL if scope["method"] in (self.methods or ()) else Match.PARTIAL
        return found, {"endpoint": self.endpoint, "path_params": given}
