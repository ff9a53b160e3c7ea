"""The console's first page: what is served, how fresh it is, the gates, alerts, and the store's health."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nightloom.errors import StoreError
from nightloom.lake import now
from nightloom.night import records, stages
from nightloom.settings import Settings
from serving.console.layout import lake_of, served, show
from serving.console.nights import night_rows
from serving.freshness import freshness
from serving.night_status import served_nights
from serving.stores.base import NothingPublishedError
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import PINNED

NIGHTS_SHOWN, ALERTS_SHOWN = 3, 5


def now_page(request: Request) -> Response:
    """The served version and its age against the target, the gates, the last nights, what is wrong with the store."""
    settings: Settings = request.app.state.settings
    lists: FallbackReader = request.app.state.lists
    meta, pushes = served(lists)
    shown = night_rows(settings, NIGHTS_SHOWN, served_nights(pushes))
    newest = shown[0].night if shown else None
    return show(
        request, "now.html", "Now", meta=meta, trouble=lists.trouble, nights=shown, overlay=lists.overlay,
        unpublished=meta is None and isinstance(lists.trouble, NothingPublishedError), pinned=_pinned(lists),
        fresh=freshness(settings.airflow, meta, now()), alerts=last_alerts(settings.place("airflow")),
        gates=records.gate_results_up_to(lake_of(request), newest) if newest else {},
        gate_order=[stage.gate for stage in stages.GATES], location=lists.store.location, kind=settings.store.kind,
    )  # fmt: skip


def last_alerts(airflow_home: Path) -> list[dict[str, Any]]:
    """The last alerts of Airflow on this machine, the newest first; a line that is no alert is left out."""
    try:
        lines = (airflow_home / "alerts.jsonl").read_text(encoding="utf8").splitlines()[-ALERTS_SHOWN:]
    except FileNotFoundError:
        return []
    return [alert for line in reversed(lines) if (alert := _parse_alert(line))]


def _parse_alert(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
        datetime.fromisoformat(found["at"]), date.fromisoformat(found["date"])
        return {name: str(found[name]) for name in ("at", "kind", "title", "error", "date")}
    except (ValueError, KeyError, TypeError):  # a line that is being written
        return None


def _pinned(lists: FallbackReader) -> str | None:
    """The pin and its reason."""
    try:
        return lists.ask_in_thread(lambda snapshot, stale: None if stale else lists.store.read_note(PINNED))
    except StoreError:
        return None
