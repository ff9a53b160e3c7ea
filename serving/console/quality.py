"""The console's page of data quality, and the pages of Data Docs."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from expectations.trends import NOT_CHECKED, PASSED, STOPPED, WARNED, trends
from nightloom.errors import UnknownUserError
from nightloom.lake import Lake
from nightloom.pages.html import render
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
    """A page of Data Docs from disk."""
    settings: Settings = request.app.state.settings
    docs, page = settings.place("docs").resolve(), request.path_params["page"]
    try:
        file = (docs / Path(page)).resolve()
        found = file.is_relative_to(docs) and file.suffix == ".html" and file.is_file()
    except (OSError, ValueError):  # no file can have such a name
        found = False
    if not found:
        raise UnknownUserError(f"no page of Data Docs: {page[:200]}")
    return FileResponse(file)
