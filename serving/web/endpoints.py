"""A route of the API with what it takes and gives: the routes and the OpenAPI document are made from the same list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel
from starlette.routing import Route


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
        return Route(self.path, self.handler, methods=list(self.methods))
