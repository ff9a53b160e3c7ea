"""The console's sign-in and sign-out: a key for a session's cookie."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from nightloom.pages.html import render
from nightloom.values import now
from serving.access.guard import Access, is_from_here
from serving.access.keys import Scope
from serving.access.sessions import COOKIE, LENGTH, begin_session

TEMPLATE = Path(__file__).parent / "templates" / "sign_in.html"
MAX_BODY = 4096
CONSOLE_SCOPES = {Scope.ADMIN, Scope.PERSONAL}


def routes() -> list[Route]:
    """Sign-in and sign-out."""
    return [
        Route("/sign-in", show_form, methods=["GET"]),
        Route("/sign-in", sign_in, methods=["POST"], max_body_size=MAX_BODY),
        Route("/sign-out", sign_out, methods=["POST"], max_body_size=MAX_BODY),
    ]


async def show_form(request: Request) -> Response:
    """The form; the console itself where no key is needed."""
    access: Access = request.app.state.access
    if access.keys.open:
        return RedirectResponse("/console", 303)
    return _form(request, request.query_params.get("next", "/console"), "")


async def sign_in(request: Request) -> Response:
    """Begin a session with a key that may see the console."""
    access: Access = request.app.state.access
    if not is_from_here(request.headers, proof=True):
        return _form(request, "/console", "The form was sent by another site's page. Sign in here.", 403)
    fields = parse_qs((await request.body()).decode("utf8", "replace"))
    text, target = fields.get("key", [""])[0].strip(), fields.get("next", ["/console"])[0]
    ring, at = access.keys.ring, now()
    key = ring.verify(text, at) if ring else None
    if key is None:
        return _form(request, target, "This key is unknown, expired or revoked.", 401)
    if not key.scopes & CONSOLE_SCOPES:
        return _form(request, target, f"The key of {key.name} has neither the scope admin nor personal.", 403)
    if target == "/console" and Scope.ADMIN not in key.scopes:
        target = "/console/users"  # what the key may see
    response = RedirectResponse(_own_path(target), 303)
    response.set_cookie(
        COOKIE, begin_session(key, text, at), max_age=int(LENGTH.total_seconds()), httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


async def sign_out(request: Request) -> Response:
    """End the session in this browser."""
    if not is_from_here(request.headers, proof=True):
        return _form(request, "/console", "The form was sent by another site's page.", 403)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


def _form(request: Request, target: str, problem: str, status: int = 200) -> Response:
    access: Access = request.app.state.access
    project = access.settings.project.name
    page = render(TEMPLATE, project=project, next=_own_path(target), problem=problem)
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})


def _own_path(target: str) -> str:
    """A path of this console; never another site's address."""
    own = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if own else "/console"
