"""The HTTP API and the console in one Starlette app: stateless, reads the serving store, answers with JSON as bytes.

ENDPOINTS has every route of the API: the app, the OpenAPI document and docs/api-reference.md are made from it. What the
routes take is in web/parameters.py, what they answer in web/schemas.py, and their errors are in web/errors.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from nightloom import __version__
from nightloom import settings as settings_module
from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.night.context import end_of
from nightloom.settings import Settings
from nightloom.values import now
from serving import console
from serving.access import sign_in
from serving.access.guard import Access
from serving.admin_routes import ADMIN_ENDPOINTS
from serving.answers import BadRequestError
from serving.direct_lists import DirectLists
from serving.events.intake import Intake
from serving.events.routes import post_events
from serving.explanations import Explanations
from serving.http_protocol import DIRECT_LISTS
from serving.list_routes import RECOMMENDATIONS, get_batch, get_popular, get_recommendations, get_similar
from serving.metrics.counters import Counters, counters_folder
from serving.metrics.exposition import CONTENT_TYPE
from serving.metrics.kept_stage_runs import KeptStageRuns
from serving.metrics.scrape import scrape
from serving.stores import open_store
from serving.stores.base import NothingPublishedError, PageExpiredError
from serving.stores.fallback import FallbackReader
from serving.stores.overlay import TooManyItemsError
from serving.stores.pushes import version_name
from serving.stores.reader import Snapshot
from serving.url_paths import accept_any_text
from serving.web.caching import EVERYBODYS, conditional_response, etag_of, uncached_json
from serving.web.endpoints import Endpoint, routes_of
from serving.web.errors import error_response
from serving.web.exchange import Exchange
from serving.web.openapi import openapi
from serving.web.parameters import (
    BatchRequest,
    EventsQuery,
    EventsRequest,
    ExplanationQuery,
    ListRequest,
)
from serving.web.schemas import (
    BatchAnswer,
    EventsAnswer,
    ExplanationAnswer,
    HealthAnswer,
    ItemAnswer,
    OpenApiDocument,
    PopularList,
    SimilarList,
    Source,
    StatusAnswer,
    UserList,
)

if TYPE_CHECKING:
    from serving.live.lists import LiveLists

UNREADABLE = ("nothing_published", "store_unavailable")
LIST_ERRORS = ("bad_request", "page_expired", *UNREADABLE)
CLOCK_SLACK = 3600.0
"""Seconds that the clocks of this machine and of the nights' machine may differ."""


def create_app(settings: Settings) -> Starlette:
    """The app over one project."""
    accept_any_text()
    store = open_store(settings, reading=True)
    routes = [*routes_of(ENDPOINTS), *console.routes(), *sign_in.routes()]
    counters = Counters([route.path for route in routes], get_args(Source), counters_folder())
    app = Application(
        routes=routes,
        exception_handlers={
            BadRequestError: _error_handler("bad_request"),
            PageExpiredError: _error_handler("page_expired"),
            NothingPublishedError: _error_handler("nothing_published"),
            TooManyItemsError: _error_handler("too_many_items"),
            StoreError: _error_handler("store_unavailable"),
            UnknownUserError: _error_handler("not_listed"),
            NightloomError: _error_handler("not_here"),
            HTTPException: _http_error,
        },
        lifespan=_running,
        middleware=_middleware(settings, counters),
    )
    app.router.redirect_slashes = False  # a redirect has no JSON, and repeats the request's Host
    saved = settings.place("scratch") / "serving" / "last_good.json"
    lists = FallbackReader(store, settings.store.deadline_ms / 1000, saved, counters.count_store_failure)
    app.state.lists, app.state.settings = lists, settings
    app.state.explanations = Explanations(settings)
    app.state.intake = Intake(settings, partial(_needed_since, lists))
    app.state.live = _live_lists(settings)
    app.state.counters, app.state.stage_runs = counters, KeptStageRuns(settings)
    app.state.access = Access.from_settings(settings)
    app.state.access.guard_routes(app)
    return app


class Application(Starlette):
    """Without Starlette's outermost part: Exchange sees each error, and answers it."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for middleware, args, options in reversed(self.user_middleware):
            app = middleware(app, *args, **options)
        return app


def _live_lists(settings: Settings) -> LiveLists | None:
    if not settings.serving.live:
        return None
    from serving.live.lists import LiveLists  # numba: only where it is needed

    return LiveLists(settings)


def _needed_since(lists: FallbackReader) -> float:
    """The moment, in Unix seconds, from which on received events may be missing in the lists that are served."""
    try:
        night = date.fromisoformat(lists.state()[0].meta["night"])
    except StoreError:
        return 0.0
    return end_of(night).timestamp() - CLOCK_SLACK


def _middleware(settings: Settings, counters: Counters) -> list[Middleware]:
    """What wraps the routes, outermost first."""
    found = [Middleware(Exchange, settings.serving.access_log, counters)]
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
async def _running(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    """What the app needs while it runs. Gives the protocol, serving/http_protocol.py, what it answers itself."""
    async with AsyncExitStack() as running:
        await running.enter_async_context(app.state.intake.running())
        if app.state.live is not None:
            await running.enter_async_context(app.state.live.following(app.state.lists.snapshots))
        yield {DIRECT_LISTS: DirectLists.of(app)}
    await app.state.stage_runs.close()
    app.state.lists.close()
    app.state.access.keys.close()


def _handler(body: Callable[[Request, Snapshot, bool], Response]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        lists: FallbackReader = request.app.state.lists
        return await lists.ask(lambda snapshot, stale: body(request, snapshot, stale))

    answer.__doc__ = body.__doc__
    return answer


@_handler
def get_item(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """An item's title and categories. A stale answer may know its id alone."""
    item = request.path_params["item"]
    found = snapshot.get("items", item)
    if found is None and not stale:
        return error_response(request, "unknown_item", f"no item {item!r} in this version")
    found = found or {"title": item, "categories": [], "available": None}
    fields = {name: found[name] for name in ("title", "categories", "available")}
    if item in request.app.state.lists.overlay.hidden:
        fields["available"] = False
    own = {"slate_version": version_name(snapshot.version), "stale": stale}
    body = json.dumps({"item_id": item} | fields | own, ensure_ascii=False).encode("utf8", "replace")
    return conditional_response(request, body, etag_of(snapshot.version, body), EVERYBODYS)


@_handler
def get_status(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """The served version: its meta record, its age, and every recorded push; what is wrong with the store."""
    trouble = request.app.state.lists.trouble
    age = now() - datetime.fromisoformat(snapshot.meta["published_at"])
    fields = ("version", "state", "night", "changed_at", "reason", "note")
    pushes = [{name: getattr(push, name) for name in fields} for push in snapshot.pushes()]
    own = {"slate_version": version_name(snapshot.version), "stale": stale, "trouble": trouble and str(trouble)}
    return uncached_json(snapshot.meta | own | {"pushes": pushes, "age_seconds": round(age.total_seconds())})


async def get_health(request: Request) -> Response:
    """200 while lists can be read.

    It never waits for a store's server.
    """
    lists: FallbackReader = request.app.state.lists
    snapshot, stale = lists.state()
    trouble = {"trouble": str(lists.trouble)} if stale else {}
    return uncached_json(
        {"status": "stale" if stale else "ok", "slate_version": version_name(snapshot.version)} | trouble
    )


async def get_explanation(request: Request) -> Response:
    """Why a user is shown an item.

    For operators: it opens the lake and the model, in a process of its own.
    """
    item = request.query_params.get("item")
    if not item:
        raise BadRequestError("item is missing; ask /v1/users/USER/explain?item=ITEM for an item of the user's list")
    explanations: Explanations = request.app.state.explanations
    return await explanations.respond(request, request.path_params["user"], item, page=False)


async def get_metrics(request: Request) -> Response:
    """For Prometheus: requests, lists, events, the served version, the store, and the nights' stages.

    Counts are those of all workers of this server. A key is needed only by other machines, and not at an address of
    its own (`serving.metrics`).
    """
    state = request.app.state
    text = await scrape(state.counters, state.lists, state.stage_runs, state.settings.airflow)
    return Response(text, headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE)


async def get_openapi(request: Request) -> Response:
    """This document."""
    body = openapi_json()
    return conditional_response(request, body, etag_of(0, body), EVERYBODYS)


ENDPOINTS = (
    Endpoint(
        RECOMMENDATIONS, get_recommendations, UserList, LIST_ERRORS,
        ListRequest, ListRequest, caches=True,
    ),
    Endpoint("/v1/recommendations", get_batch, BatchAnswer, ("bad_request", *UNREADABLE), body=BatchRequest, get=False),
    Endpoint(
        "/v1/events", post_events, EventsAnswer,
        (
            "bad_request", "bad_events", "no_source", "unsupported_media_type", "too_many_events", "events_unavailable",
        ),
        EventsQuery, EventsRequest, status=202, scope="events", get=False,
    ),
    Endpoint("/v1/popular", get_popular, PopularList, LIST_ERRORS, ListRequest, ListRequest, caches=True),
    Endpoint(
        "/v1/items/{item:path}/similar", get_similar, SimilarList, LIST_ERRORS, ListRequest, ListRequest, caches=True
    ),
    Endpoint("/v1/items/{item:path}", get_item, ItemAnswer, ("unknown_item", *UNREADABLE), caches=True),
    Endpoint(
        "/v1/users/{user:path}/explain", get_explanation, ExplanationAnswer,
        ("bad_request", "not_listed", "not_here", "busy", *UNREADABLE), ExplanationQuery, scope="personal",
    ),
    *ADMIN_ENDPOINTS,
    Endpoint("/v1/status", get_status, StatusAnswer, UNREADABLE),
    Endpoint("/v1/openapi.json", get_openapi, OpenApiDocument, scope=None, caches=True),
    Endpoint("/healthz", get_health, HealthAnswer, UNREADABLE, scope=None),
    Endpoint("/metrics", get_metrics, None, scope="metrics"),
)  # fmt: skip
"""Every route of the API, in the order in which they are tried."""


@cache
def openapi_json() -> bytes:
    """The OpenAPI document."""
    return json.dumps(openapi(ENDPOINTS, __version__)).encode()


def _error_handler(code: str) -> Callable[[Request, Exception], Response]:
    return lambda request, error: error_response(request, code, str(error))


HTTP_ERRORS = {404: "not_found", 405: "method_not_allowed", 408: "too_slow", 413: "body_too_large"}


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # the only class this handler is registered for
    message = f"{request.method} {request.scope['path']}: {error.detail}"
    return error_response(request, HTTP_ERRORS[error.status_code], message, error.headers)
