"""The console's models: the champion, the challengers, and the metric over time."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nightloom.contracts import CHAMPIONS, MODEL_VERDICTS, Table
from nightloom.lake import Lake
from nightloom.settings import Settings
from serving.console.charts import Lines, lines
from serving.console.layout import lake_of, served, show

VERDICTS_SHOWN = 40
Row = dict[str, Any]


def models_page(request: Request) -> Response:
    """The champion, every change of it, each challenger's verdict, and the metric over time."""
    settings: Settings = request.app.state.settings
    lake = lake_of(request)
    changes = _rows(lake, CHAMPIONS, "true ORDER BY changed_at DESC")
    verdicts = _rows(lake, MODEL_VERDICTS, f"true ORDER BY judged_at DESC, version DESC LIMIT {VERDICTS_SHOWN}")
    meta, _ = served(request.app.state.lists)
    tracking = settings.places.mlflow or ""
    return show(
        request, "models.html", "Models", changes=changes, champion=changes[0] if changes else None, meta=meta,
        verdicts=verdicts, chart=metric_chart(verdicts), metric=verdicts[0]["metric"] if verdicts else "",
        registry=f"{tracking.rstrip('/')}/#/models/{settings.project.name}" if tracking.startswith("http") else None,
        can_demote=len({change["version"] for change in changes}) > 1,
    )  # fmt: skip


def metric_chart(verdicts: list[Row]) -> Lines:
    """Of each night that was judged, by the newest metric: the best challenger, the champion, and popularity."""
    metric = verdicts[0]["metric"] if verdicts else ""
    nights = dict[str, list[Row]]()
    for row in reversed(verdicts):
        if row["metric"] == metric:
            nights.setdefault(str(row["night"]), []).append(row)
    best = [max((row["score"] for row in rows if row["score"] is not None), default=None) for rows in nights.values()]
    return lines(
        list(nights),
        {
            "best challenger": best,
            "champion": [rows[-1]["champion_score"] for rows in nights.values()],
            "popularity": [rows[-1]["popularity_score"] for rows in nights.values()],
        },
    )


def _rows(lake: Lake, table: Table, where: str) -> list[Row]:
    return list(lake.rows(table, where).to_pylist()) if lake.exists(table) else []
