"""The console's routes, below /console; what an older address led to is found at its new one."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from serving.console.action_pages import action_page, actions_page
from serving.console.actions import act
from serving.console.data import data_docs_page, data_page
from serving.console.items import items_page
from serving.console.layout import handler
from serving.console.models import models_page
from serving.console.nights import log_page, night_page, nights_page, report_page
from serving.console.now import now_page
from serving.console.publishes import publishes_page
from serving.console.quarantine import quarantine_page
from serving.console.users import explanation_page, users_page

MOVED = {
    "/": "/console",
    "/user": "/console/users",
    "/explain": "/console/explain",
    "/reports/{name}": "/console/reports/{name}",
    "/quality": "/console/data",
    "/data-docs/{page:path}": "/console/data-docs/{page:path}",
}
"""Earlier paths -> where the page is."""


def routes() -> list[Route]:
    """Every page of the console, its actions, and the earlier addresses."""
    return [
        Route("/console", handler(now_page)),
        Route("/console/nights", handler(nights_page)),
        Route("/console/nights/{night}", handler(night_page)),
        Route("/console/nights/{night}/log", handler(log_page)),
        Route("/console/reports/{name}", handler(report_page)),
        Route("/console/models", handler(models_page)),
        Route("/console/users", handler(users_page)),
        Route("/console/explain", explanation_page),
        Route("/console/items", handler(items_page)),
        Route("/console/publishes", handler(publishes_page)),
        Route("/console/data", handler(data_page)),
        Route("/console/data/quarantine", handler(quarantine_page)),
        Route("/console/data-docs/{page:path}", handler(data_docs_page)),
        Route("/console/actions", handler(actions_page)),
        Route("/console/actions/{name}", handler(action_page), methods=["GET"]),
        Route("/console/actions/{name}", act, methods=["POST"]),
        *(Route(path, moved) for path in MOVED),
    ]


async def moved(request: Request) -> Response:
    """Lead from an earlier address to the present one."""
    route: Route = request.scope["route"]
    path = MOVED[route.path].split("{")[0] + quote("".join(request.path_params.values()))
    query = request.scope["query_string"].decode("latin1")
    return RedirectResponse(f"{path}?{query}" if query else path, 308)
