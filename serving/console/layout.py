"""What all pages of the console have: the frame, who is signed in, and the note after an action."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.lake import Lake
from nightloom.pages.html import render
from nightloom.settings import Settings
from serving.console import action_log
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import Push
from serving.web.problem import problem_page

TEMPLATES = Path(__file__).parent / "templates"
Page = Callable[[Request], Response]


def show(request: Request, template: str, section: str, **values: Any) -> HTMLResponse:
    """A page of the console; `section` is its word in the navigation."""
    settings: Settings = request.app.state.settings
    done = request.query_params.get("done", "")
    page = render(
        TEMPLATES / template, project=settings.project.name, section=section, operator=request.user.display_name,
        may_act="admin" in request.auth.scopes, may_see_people="personal" in request.auth.scopes,
        done=action_log.find_action(lake_of(request), done) if done else None, **values,
    )  # fmt: skip
    return page_response(page)


def page_response(page: str | bytes) -> HTMLResponse:
    """A page that no cache keeps: the next person at the browser has to sign in."""
    return HTMLResponse(page, headers={"Cache-Control": "no-store"})


def handler(body: Page) -> Page:
    """A handler that shows errors as a page. Starlette runs it in a thread, since pages read Delta tables."""

    def respond(request: Request) -> Response:
        try:
            return body(request)
        except NightloomError as error:
            code = 404 if isinstance(error, UnknownUserError) else 503
            return problem_page(request.app.state.settings, str(error), code)

    return respond


def lake_of(request: Request) -> Lake:
    """The project's lake."""
    settings: Settings = request.app.state.settings
    return Lake(settings.place("lake"))


def served(lists: FallbackReader) -> tuple[dict[str, Any] | None, list[Push]]:
    """Meta record and pushes; none where nothing can be read."""
    try:
        return lists.ask_in_thread(lambda snapshot, _: (snapshot.meta, snapshot.pushes()))
    except StoreError:  # the page says why: lists.trouble
        return None, []
