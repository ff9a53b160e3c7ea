"""The console's data: the tables with grain and freshness, the quality over the last nights, pages of Data Docs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from expectations.trends import NOT_CHECKED, PASSED, STOPPED, WARNED, trends
from nightloom.contracts import TABLES, Table
from nightloom.errors import UnknownUserError
from nightloom.lake import Lake
from nightloom.places import Place
from nightloom.settings import Settings
from serving.console.layout import lake_of, page_response, show
from serving.console.quarantine import groups

NIGHTS_SHOWN = 28
TONES = {PASSED: "held", WARNED: "mild", STOPPED: "failed", NOT_CHECKED: "none"}
"""A night's mark -> its class on the page."""


@dataclass(frozen=True)
class TableState:
    """A table as it stands."""

    table: Table
    version: int
    rows: int
    written_at: datetime
    """Moment of the newest version."""


def data_page(request: Request) -> Response:
    """Each table's state; its expectations over the last nights: failed or changed ones open."""
    settings: Settings = request.app.state.settings
    lake = lake_of(request)
    found = trends(lake, NIGHTS_SHOWN)
    by_table = {table: list(of_table) for table, of_table in groupby(found, lambda trend: trend.table)}
    docs = (settings.place("docs") / "index.html").is_file()
    return show(
        request, "data.html", "Data", tables=by_table, tones=TONES, docs=docs, states=table_states(lake),
        quarantine=groups(lake),
    )  # fmt: skip


def table_states(lake: Lake) -> list[TableState]:
    """The tables that are there."""
    return [_state(lake, table) for table in TABLES if lake.exists(table)]


def _state(lake: Lake, table: Table) -> TableState:
    opened = lake.open(table)
    written_at = datetime.fromtimestamp(lake.last_commit(table).get("timestamp", 0) / 1000, UTC)
    return TableState(table, opened.version(), opened.count(), written_at)


def data_docs_page(request: Request) -> Response:
    """A page of Data Docs."""
    settings: Settings = request.app.state.settings
    page = request.path_params["page"]
    content = None if {"", ".", ".."} & set(page.split("/")) else _read_page(settings.place("docs") / page)
    if content is None:
        raise UnknownUserError(f"no page of Data Docs: {page[:200]}")
    return page_response(content)


def _read_page(file: Place) -> bytes | None:
    try:
        return file.read_bytes() if file.suffix == ".html" and file.is_file() else None
    except (OSError, ValueError):  # no file can have such a name
        return None
