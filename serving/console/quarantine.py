"""The console's quarantine: records that could not be used; to mend, replay or discard."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nightloom.contracts import QUARANTINE_ROWS
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.quarantine.records import WAITING, add_outcomes, filter_sql, read_rows
from serving.console.layout import lake_of, show

ROWS_SHOWN = 50


def groups(lake: Lake) -> list[dict[str, Any]]:
    """The number of rows by source, reason and state, most rows first."""
    if not lake.exists(QUARANTINE_ROWS):
        return []
    columns = ["kind", "source", "reason", "state", "count(*) AS rows", "min(night) AS first", "max(night) AS last"]
    found = lake.rows(QUARANTINE_ROWS, "true GROUP BY 1, 2, 3, 4 ORDER BY rows DESC, 1, 2, 3, 4", columns)
    return list(found.to_pylist())


def quarantine_page(request: Request) -> Response:
    """Rows of one source and reason, or one row; what they say only for a key that may see people."""
    lake, query = lake_of(request), request.query_params
    row = [query["row"]] if query.get("row") else []
    where = filter_sql(row, None, query.get("source"), query.get("reason"))
    state = query.get("state")
    where = f"{where} AND state = {sql_text(state)}" if state else where
    found = read_rows(lake, where, ROWS_SHOWN) if lake.exists(QUARANTINE_ROWS) else []
    add_outcomes(lake, found)
    return show(
        request, "quarantine.html", "Data", rows=found, groups=groups(lake), source=query.get("source"),
        reason=query.get("reason"), most=ROWS_SHOWN, waiting=WAITING,
    )  # fmt: skip
