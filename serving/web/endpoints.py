"""A route of the API with what it takes and gives: the routes and the OpenAPI document are made from the same list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import cleandoc, iscoroutinefunction
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Endpoint:
    """What one handler answers: its docstring is the description. Several of one path differ by method."""

    path: str
    """As Starlette writes it: /v1/items/{item:path}."""
    handler: Callable[..., Any]
    answer: type[BaseModel] | None
    """What 200 has; None for text that is not JSON."""
    errors: tuple[str, ...] = ()
    """Codes of serving/web/errors.py that are this path's own."""
    query: type[BaseModel] | None = None
    """Parameters; None where it has none."""
    body: type[BaseModel] | None = None
    """JSON of a POST; None where there is no POST."""
    status: int = 200
    """Of the answer."""
    scope: str | None = "read"
    """What a key needs; None: no key."""
    get: bool = True
    """Whether it takes GET."""
    delete: bool = False
    """Whether it takes DELETE, with the parameters of `query`."""
    caches: bool = False
    """Whether the answer to GET has an ETag."""

    @property
    def methods(self) -> tuple[str, ...]:
        takes = {"GET": self.get, "POST": self.body is not None, "DELETE": self.delete}
        return tuple(method for method, taken in takes.items() if taken)

    @property
    def description(self) -> str:
        return cleandoc(self.handler.__doc__ or "")


def routes_of(endpoints: Iterable[Endpoint]) -> list[Route]:
    """A route for each path, in the order of the endpoints."""
    by_path = dict[str, list[Endpoint]]()
    for each in endpoints:
        by_path.setdefault(each.path, []).append(each)
    return [_route(*same) for same in by_path.values()]


def _route(first: Endpoint, *others: Endpoint) -> Route:
    if not others:
        kind = DirectRoute if iscoroutinefunction(first.handler) else Route
        return kind(first.path, first.handler, methods=list(first.methods))
    handlers = {method: each.handler for each in (first, *others) for method in each.methods}

    async def by_method(request: Request) -> Response:
        found: Response = await handlers["GET" if request.method == "HEAD" else request.method](request)
        return found

    return DirectRoute(first.path, by_method, methods=list(handlers))


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
