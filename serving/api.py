"""The HTTP API and the console in one Starlette app: stateless, reads the serving store, answers in ready-made bytes.

GET /v1/users/{user}/recommendations?k=&exclude=a,b&segment=   /v1/popular?k=&exclude=&segment=
    /v1/items/{item}   /v1/items/{item}/similar?k=&exclude=   /v1/status   /healthz
    /v1/users/{user}/explain?item=   and the console's pages.
Errors are {"error": {"code": .., "message": ..}}.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nightloom import settings as settings_module
from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.lake import as_json, now
from nightloom.settings import Settings
from serving import answers, console
from serving.answers import AskedWrongError
from serving.explain import explain
from serving.stores import Store, store_of, versions
from serving.stores.base import EVERYBODY
from serving.stores.reading import Reader, Snapshot

JSON = "application/json"
EXPLAINED_AT_ONCE = 2
"""More would take the threads, and the memory, that lists are answered with."""
Body = Callable[[Request, Snapshot, bool], Response]
"""Answers a request from a snapshot, and knows whether that is stale."""


def create(settings: Settings) -> Starlette:
    """The app over one project."""
    store = store_of(settings)
    app = Starlette(
        routes=[
            *(
                Route(path, _answering(body, store))
                for path, body in (
                    ("/v1/users/{user:path}/recommendations", recommendations),
                    ("/v1/popular", popular),
                    ("/v1/items/{item:path}/similar", similar),
                    ("/v1/items/{item:path}", item_card),
                    ("/v1/status", status),
                    ("/healthz", healthz),
                )
            ),
            Route("/v1/users/{user:path}/explain", why),
            *console.routes(),
        ],
        exception_handlers={
            AskedWrongError: lambda _, error: _error(400, "bad_request", str(error)),
            StoreError: lambda _, error: _error(503, "nothing_published", str(error)),
            UnknownUserError: lambda _, error: _error(404, "not_listed", str(error)),
            NightloomError: lambda _, error: _error(503, "not_here", str(error)),
            HTTPException: _http_error,
        },
    )
    app.state.reader, app.state.settings = Reader(store), settings
    app.state.explaining = asyncio.Semaphore(EXPLAINED_AT_ONCE)
    return app


def from_config() -> Starlette:
    """The app of the nightloom.toml in force: what uvicorn's workers call."""
    return create(settings_module.load())


def _answering(body: Body, store: Store) -> Callable[[Request], Any]:
    """A handler. A far store is asked in a thread, so that nobody else waits; a near one is quicker than a thread."""

    def answer(request: Request) -> Response:
        reader: Reader = request.app.state.reader
        user = request.path_params.get("user")
        return reader.ask(lambda snapshot: body(request, snapshot, reader.stale), user)

    async def at_once(request: Request) -> Response:
        return answer(request)

    return answer if store.remote else at_once


def recommendations(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """A user's list. An unknown user gets the segment's, or the popular one: never empty, never an error."""
    k, exclude = answers.length(snapshot, request.query_params.get("k")), _excluded(request)
    user, segment = request.path_params["user"], request.query_params.get("segment", EVERYBODY)
    return Response(answers.recommendations(snapshot, user, k, exclude, stale, segment), media_type=JSON)


def popular(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """The popular list, of a segment if one is asked for."""
    k, exclude = answers.length(snapshot, request.query_params.get("k")), _excluded(request)
    segment = request.query_params.get("segment", EVERYBODY)
    return Response(answers.popular(snapshot, segment, k, exclude, stale), media_type=JSON)


def similar(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """What goes beside an item. One that nobody knows gets the popular list: never empty, never an error."""
    k, exclude = answers.length(snapshot, request.query_params.get("k")), _excluded(request)
    return Response(answers.similar(snapshot, request.path_params["item"], k, exclude, stale), media_type=JSON)


def item_card(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """An item's title and categories; 404 for one that nobody described."""
    item = request.path_params["item"]
    card = snapshot.get("items", item)
    if card is None:
        return _error(404, "unknown_item", f"no item {item!r} in this version")
    return _json({"item_id": item} | {name: card[name] for name in ("title", "categories", "available")})


def status(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """What is served: the version's meta record, its age, and every push there is a record of."""
    reader: Reader = request.app.state.reader
    age = now() - datetime.fromisoformat(snapshot.meta["published_at"])
    kept = ("version", "state", "night", "changed_at", "reason", "note")
    pushes = [{name: getattr(push, name) for name in kept} for push in reversed(versions.pushes(reader.store))]
    own = {"slate_version": versions.name(snapshot.version), "stale": stale, "pushes": pushes}
    return _json(snapshot.meta | own | {"age_seconds": round(age.total_seconds())})


def healthz(request: Request, snapshot: Snapshot, stale: bool) -> Response:
    """200 when lists can be read, 503 with the reason when not."""
    return _json({"status": "stale" if stale else "ok", "slate_version": versions.name(snapshot.version)})


async def why(request: Request) -> Response:
    """Why a user is shown an item. For operators: it opens the lake and the model, in a thread beside the hot way."""
    item = request.query_params.get("item")
    if not item:
        raise AskedWrongError("item is missing; ask /v1/users/USER/explain?item=ITEM for an item of the user's list")
    state, user = request.app.state, request.path_params["user"]
    async with state.explaining:
        found = await run_in_threadpool(explain, state.settings, state.reader, user, item)
    return Response(as_json(found.as_dict()), media_type=JSON)


def _excluded(request: Request) -> frozenset[str]:
    text = request.query_params.get("exclude")
    return frozenset(text.split(",")) if text else frozenset()


def _json(content: object, code: int = 200) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), code, media_type=JSON)


def _error(code: int, kind: str, message: str) -> Response:
    return _json({"error": {"code": kind, "message": message}}, code)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # the only class this handler is registered for
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    return _error(error.status_code, kind, f"{request.method} {request.url.path}: {error.detail}")
