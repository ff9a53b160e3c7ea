"""A page that says what went wrong, for the console's routes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.responses import HTMLResponse

from nightloom.pages.html import render
from nightloom.settings import Settings

TEMPLATE = Path(__file__).parent / "templates" / "problem.html"


def problem_page(
    settings: Settings, message: str, status: int, headers: Mapping[str, str] | None = None, back: str = "/console"
) -> HTMLResponse:
    """The page. `back` is the console's path to go on from. No cache keeps it."""
    page = render(TEMPLATE, project=settings.project.name, message=message, back=back)
    return HTMLResponse(page, status, {"Cache-Control": "no-store"} | dict(headers or {}))
