"""The HTTP API and the console in one Starlette app: stateless, reads the serving store, answers with JSON as bytes.

GET /v1/users/{user}/recommendations?k=&exclude=a,b&segment=   /v1/popular?k=&exclude=&segment=
    /v1/items/{item}   /v1/items/{item}/similar?k=&exclude=   /v1/status   /healthz   /metrics
    /v1/users/{user}/explain?item=   and the console's pages.
Errors are {"error": {"code": .., "message": ..}}.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nightloom import settings as settings_module
from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.lake import now
from nightloom.settings import Settings
from serving import answers, console
from serving.access import sign_in
from serving.access.guard import Access
from serving.answers import BadRequestError
from serving.events import routes as event_routes
from serving.events.intake import Intake
from serving.explanations import Explanations
from serving.metrics import Metrics
from serving.stores import open_store
from serving.stores.base import EVERYBODY, NothingPublishedError
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import version_name
from serving.stores.reader import Snapshot
from serving.url_paths import accept_any_text
from serving.web.caching import EVERYBODYS, ONE_USERS, conditional_response
from serving.web.errors import error_response
from serving.web.exchange import Exchange

JSON = "application/json"
Body = Callable[[Request, Snapshot, bool], Response]
"""Answers a request from a snapshot, given whether the snapshot is stale."""


def create_app(settings: Settings) -> Starlette:
    """The app over one project."""
    accept_any_text()
    store = open_store(settings, reading=True)
    app = Starlette(
        routes=[
            *(
                Route(path, _handler(body))
                for path, body in (
                    ("/v1/users/{user:path}/recommendations", get_recommendations),
                    ("/v1/popular", get_popular),
                    ("/v1/items/{item:path}/similar", get_similar),
                    ("/v1/items/{item:path}", get_item),
                    ("/v1/status", get_status),
                )
            ),
            Route("/healthz", get_health),
            Route("/v1/users/{user:path}/explain", get_explanation),
            *console.routes(),
            *sign_in.routes(),
            *event_routes.routes(),
        ],
        exception_handlers={
            BadRequestError: _error_handler(400, "bad_request"),
            NothingPublishedError: _error_handler(503, "nothing_published"),
            StoreError: _error_handler(503, "store_unavailable"),
            UnknownUserError: _error_handler(404, "not_listed"),
            NightloomError: _error_handler(503, "not_here"),
            HTTPException: _http_error,
        },
        lifespan=_close,
        middleware=_middleware(settings),
    )
    app.router.redirect_slashes = False  # a redirect has no JSON, and repeats the request's Host
    saved = settings.place("scratch") / "serving" / "last_good.json"
    lists = FallbackReader(store, settings.store.deadline_ms / 1000, saved)
    app.state.lists, app.state.settings = lists, settings
    app.state.explanations = Explanations(settings)
    app.state.intake = Intake(settings)
    app.state.access = Access.from_settings(settings)
    app.state.access.guard_routes(app)
    return app


def _middleware(settings: Settings) -> list[Middleware]:
    """What wraps the routes, outermost first."""
    found = [Middleware(Exchange, settings.serving.access_log), Middleware(Metrics)]
    if settings.serving.cors_origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=settings.serving.cors_origins, allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "If-None-Match", "X-Request-Id"),
            expose_headers=("ETag", "Retry-After", "X-Request-Id"),
        )  # fmt: skip
        found.append(cors)
    return found


def from_config() -> Starlette:
    """The app of the current nightloom.toml, for uvicorn's workers."""
    return create_app(settings_module.load(reach=False))


@asynccontextmanager
async def _close(app: Starlette) -> AsyncIterator[None]:
    async with app.state.intake.running():
        yield
    app.state.lists.close()
    app.state.access.keys.close()


def _handler(body: Body) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        lists: FallbackReader = request.app.state.lists
        return await lists.ask(lambda snapshot, stale: body(request, snapshot, stale), request.path_params.get("user"))

    return answer


def get_recommendations(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """A user's list. An unknown user gets the segment's or the popular list: never empty, never an error."""
    k, exclude = answers.parse_k(snapshot, request.query_params.get("k")), _excluded_items(request)
    user, segment = request.path_params["user"], request.query_params.get("segment", EVERYBODY)
    body = answers.recommendations(snapshot, user, k, exclude, stale, segment)
    return conditional_response(request, body, snapshot.version, ONE_USERS)


def get_popular(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """The popular list, of a segment if one is given."""
    k, exclude = answers.parse_k(snapshot, request.query_params.get("k")), _excluded_items(request)
    segment = request.query_params.get("segment", EVERYBODY)
    body = answers.popular(snapshot, segment, k, exclude, stale)
    return conditional_response(request, body, snapshot.version, EVERYBODYS)


def get_similar(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """Similar items. An unknown item gets the popular list: never empty, never an error."""
    k, exclude = answers.parse_k(snapshot, request.query_params.get("k")), _excluded_items(request)
    body = answers.similar(snapshot, request.path_params["item"], k, exclude, stale)
    return conditional_response(request, body, snapshot.version, EVERYBODYS)


def get_item(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """An item's title and categories; 404 for an item that nobody described. A stale answer may know the id alone."""
    item = request.path_params["item"]
    found = snapshot.get("items", item)
    if found is None and not stale:
        return error_response(request, 404, "unknown_item", f"no item {item!r} in this version")
    found = found or {"title": item, "categories": [], "available": None}
    fields = {name: found[name] for name in ("title", "categories", "available")}
    body = json.dumps({"item_id": item} | fields | {"stale": stale}, ensure_ascii=False).encode("utf8", "replace")
    return conditional_response(request, body, snapshot.version, EVERYBODYS)


def get_status(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """The served version: its meta record, its age, and every recorded push; what is wrong with the store."""
    trouble = request.app.state.lists.trouble
    age = now() - datetime.fromisoformat(snapshot.meta["published_at"])
    fields = ("version", "state", "night", "changed_at", "reason", "note")
    pushes = [{name: getattr(push, name) for name in fields} for push in snapshot.pushes()]
    own = {"slate_version": version_name(snapshot.version), "stale": stale, "trouble": trouble and str(trouble)}
    return _json(snapshot.meta | own | {"pushes": pushes, "age_seconds": round(age.total_seconds())})


async def get_health(request: Request) -> Response:
    """200 while lists can be read, otherwise 503 with the reason. Never waits for a store's server."""
    lists: FallbackReader = request.app.state.lists
    snapshot, stale = lists.state()
    trouble = {"trouble": str(lists.trouble)} if stale else {}
    return _json({"status": "stale" if stale else "ok", "slate_version": version_name(snapshot.version)} | trouble)


async def get_explanation(request: Request) -> Response:
    """Why a user is shown an item. For operators: it opens the lake and the model, in a process of its own."""
    item = request.query_params.get("item")
    if not item:
        raise BadRequestError("item is missing; ask /v1/users/USER/explain?item=ITEM for an item of the user's list")
    explanations: Explanations = request.app.state.explanations
    return await explanations.respond(request, request.path_params["user"], item, page=False)


def _excluded_items(request: Request) -> frozenset[str]:
    text = request.query_params.get("exclude")
    return frozenset(text.split(",")) if text else frozenset()


def _json(content: object) -> Response:
    """An answer that changes by itself: no cache keeps it."""
    return Response(json.dumps(content, ensure_ascii=False), headers={"Cache-Control": "no-store"}, media_type=JSON)


def _error_handler(status: int, code: str) -> Callable[[Request, Exception], Response]:
    return lambda request, error: error_response(request, status, code, str(error))


HTTP_ERRORS = {404: "not_found", 405: "method_not_allowed", 408: "too_slow", 413: "body_too_large"}


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # the only class this handler is registered for
    message = f"{request.method} {request.scope['path']}: {error.detail}"
    code = HTTP_ERRORS.get(error.status_code, "error")
    return error_response(request, error.status_code, code, message, error.headers)
