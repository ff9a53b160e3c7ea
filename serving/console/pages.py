"""The console's routes, below /console; what an older address led to is found at its new one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

MOVED = {
    "/": "/console",
    "/user": "/console/users",
    "/explain": "/console/explain",
    "/reports/{name}": "/console/reports/{name}",
    "/quality": "/console/data",
    "/data-docs/{page:path}": "/console/data-docs/{page:path}",
}
"""Earlier paths -> where the page is."""


PAGES = {
    "/console": "now.now_page",
    "/console/nights": "nights.nights_page",
    "/console/nights/{night}": "nights.night_page",
    "/console/nights/{night}/log": "nights.log_page",
    "/console/reports/{name}": "nights.report_page",
    "/console/models": "models.models_page",
    "/console/users": "users.users_page",
    "/console/items": "items.items_page",
    "/console/publishes": "publishes.publishes_page",
    "/console/data": "data.data_page",
    "/console/data/quarantine": "quarantine.quarantine_page",
    "/console/data-docs/{page:path}": "data.data_docs_page",
    "/console/actions": "action_pages.actions_page",
    "/console/actions/{name}": "action_pages.action_page",
}
"""Path -> module and function of a page."""


def routes() -> list[Route]:
    """Every page of the console, its actions, and the earlier addresses."""
    return [
        *(Route(path, page(name), methods=["GET"]) for path, name in PAGES.items()),
        Route("/console/explain", opened_at_need("users.explanation_page")),
        Route("/console/actions/{name}", opened_at_need("actions.act"), methods=["POST"]),
        *(Route(path, moved) for path in MOVED),
    ]


def page(name: str) -> Callable[[Request], Response]:
    """A page that shows its errors, in a thread of Starlette's."""

    def respond(request: Request) -> Response:
        from serving.console.layout import handler

        return handler(_load(name))(request)

    return respond


def opened_at_need(name: str) -> Callable[[Request], Awaitable[Response]]:
    """An asynchronous handler."""

    async def respond(request: Request) -> Response:
        handle: Callable[[Request], Awaitable[Response]] = await asyncio.to_thread(_load, name)
        return await handle(request)

    return respond


def _load(name: str) -> Any:
    """A function of the console, `module.function`.

    Its module is loaded at its first request: DuckDB and the rest that pages need would be 30 MiB in each worker.
    """
    module, _, function = name.partition(".")
    return getattr(import_module(f"serving.console.{module}"), function)


async def moved(request: Request) -> Response:
    """Lead from an earlier address to the present one."""
    route: Route = request.scope["route"]
    path = MOVED[route.path].split("{")[0] + quote("".join(request.path_params.values()))
    query = request.scope["query_string"].decode("latin1")
    return RedirectResponse(f"{path}?{query}" if query else path, 308)
