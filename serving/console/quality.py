"""The console's page of data quality, and the pages of Data Docs."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from expectations.trends import NOT_CHECKED, PASSED, STOPPED, WARNED, trends
from nightloom.errors import UnknownUserError
from nightloom.lake import Lake
from nightloom.pages.html import render
from nightloom.places import Place
from nightloom.settings import Settings

TEMPLATE = Path(__file__).parent / "templates" / "quality.html"
NIGHTS_SHOWN = 28
TONES = {PASSED: "held", WARNED: "mild", STOPPED: "failed", NOT_CHECKED: "none"}
"""A night's mark -> its class on the page."""


def quality_page(request: Request) -> Response:
    """Each table's expectations over the last nights: those that failed or changed, and the others folded."""
    settings: Settings = request.app.state.settings
    found = trends(Lake(settings.place("lake")), NIGHTS_SHOWN)
    by_table = {table: list(of_table) for table, of_table in groupby(found, lambda trend: trend.table)}
    docs = (settings.place("docs") / "index.html").is_file()
    page = render(TEMPLATE, project=settings.project.name, tables=by_table, tones=TONES, docs=docs)
    return HTMLResponse(page)


def data_docs_page(request: Request) -> Response:
    """A page of Data Docs."""
    settings: Settings = request.app.state.settings
    page = request.path_params["page"]
    content = None if {"", ".", ".."} & set(page.split("/")) else _read_page(settings.place("docs") / page)
    if content is None:
        raise UnknownUserError(f"no page of Data Docs: {page[:200]}")
    return HTMLResponse(content)


def _read_page(file: Place) -> bytes | None:
    try:
        return file.read_bytes() if file.suffix == ".html" and file.is_file() else None
    except (OSError, ValueError):  # no file can have such a name
        return None
