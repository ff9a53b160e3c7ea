"""The console's routes. Handlers are plain functions: Starlette runs them in threads, since they read Delta tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.lake import Lake
from nightloom.night import records, stages
from nightloom.night.records import StageRun
from nightloom.pages.html import render
from nightloom.settings import Settings
from serving import answers
from serving.console.quality import data_docs_page, quality_page
from serving.explanations import Explanations
from serving.history import read_history
from serving.night_status import served_nights
from serving.selection import Selection
from serving.stores.base import NothingPublishedError
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import Push
from serving.stores.reader import Snapshot

TEMPLATES = Path(__file__).parent / "templates"
NIGHTS_SHOWN = 7
HISTORY_SHOWN = 40
Page = Callable[[Request], Response]


@dataclass(frozen=True)
class NightRow:
    """One night on the page."""

    night: date
    runs: list[StageRun]
    report: bool
    served: bool
    """Whether the store has a version of the night."""

    @property
    def stages(self) -> list[StageRun]:
        """The last attempt of each stage of the night itself."""
        return records.last_attempts(records.runs_by_dag(self.runs)[records.NIGHTLY])

    @property
    def other_dags(self) -> dict[str, list[StageRun]]:
        """DAG -> the last attempts of its stages on this date."""
        by_dag = records.runs_by_dag(self.runs)
        return {dag: records.last_attempts(runs) for dag, runs in by_dag.items() if dag != records.NIGHTLY}

    @property
    def outcome(self) -> str:
        """published, closed, failed, unfinished or not run."""
        return records.outcome(self.runs, served=self.served)

    @property
    def why(self) -> str:
        """Which stage stopped it, and its error."""
        stopped = records.stopping_run(self.runs)
        return f"{stopped.stage}: {stopped.error}" if stopped else ""

    @property
    def seconds(self) -> float:
        """The sum of the stages' seconds, without waiting times."""
        return sum(stage.seconds for stage in self.stages)


def routes() -> list[Route]:
    """Every page of the console."""
    return [
        Route("/", _handler(home_page)),
        Route("/user", _handler(user_page)),
        Route("/explain", explanation_page),
        Route("/reports/{night}", _handler(report_page)),
        Route("/quality", _handler(quality_page)),
        Route("/data-docs/{page:path}", _handler(data_docs_page)),
    ]


def home_page(request: Request) -> Response:
    """The served version and its age, the gates, the last nights, all versions; what is wrong with the store."""
    settings, lists = _state(request)
    lake, (meta, pushes) = Lake(settings.place("lake")), _served(lists)
    shown = night_rows(settings, NIGHTS_SHOWN, served_nights(pushes))
    newest = shown[0].night if shown else None
    return HTMLResponse(
        render(
            TEMPLATES / "home.html", project=settings.project.name, meta=meta, trouble=lists.trouble, nights=shown,
            unpublished=meta is None and isinstance(lists.trouble, NothingPublishedError),
            gates=records.gate_results_up_to(lake, newest) if newest else {}, pushes=pushes,
            gate_order=[stage.gate for stage in stages.GATES], operator=request.user.display_name,
        )
    )  # fmt: skip


def night_rows(settings: Settings, limit: int, served: Collection[date]) -> list[NightRow]:
    """The newest nights, newest first; `served` are those of which the store has a version."""
    reports = settings.place("home") / "reports"
    found = records.newest_nights(Lake(settings.place("lake")), limit)
    return [
        NightRow(night, runs, (reports / f"{night}.html").exists(), night in served) for night, runs in found.items()
    ]


def user_page(request: Request) -> Response:
    """One user: history with titles and weights, list with scores and links to the explanations."""
    settings, lists = _state(request)
    user = request.query_params.get("id", "")
    meta = lists.ask_in_thread(lambda snapshot, _: snapshot.meta, user)
    history = read_history(Lake(settings.place("lake")), meta["night"], user)
    newest = history[::-1][:HISTORY_SHOWN]

    def read(snapshot: Snapshot, stale: bool) -> dict[str, Any]:
        asked = Selection(snapshot.meta["stored"], hidden=lists.overlay.hidden)
        answer = json.loads(answers.recommendations(snapshot, user, asked, stale).body)
        items = [item["item_id"] for item in answer["items"]]
        described = dict(zip(items, snapshot.get_many("items", items), strict=True))
        titles = snapshot.titles([event["item_id"] for event in newest])
        popular = answer["source"] != "personal" and not stale
        return {
            "empty": popular and snapshot.get("users", user) is not None,
            "answer": answer, "items": {item: row or {} for item, row in described.items()}, "meta": snapshot.meta,
            "history": [event | {"title": title} for event, title in zip(newest, titles, strict=True)],
        }  # fmt: skip

    found = lists.ask_in_thread(read, user)
    return HTMLResponse(
        render(
            TEMPLATES / "user.html", project=settings.project.name, user=user, events=len(history),
            k=found["meta"]["k"], trouble=lists.trouble, **found,
        )
    )  # fmt: skip


async def explanation_page(request: Request) -> Response:
    """Why one user is shown one item; by the process of the explanations, as in the API."""
    explanations: Explanations = request.app.state.explanations
    query = request.query_params
    if not query.get("item"):
        project = request.app.state.settings.project.name
        message = "The address names no item; follow a link of a user's page."
        return HTMLResponse(render(TEMPLATES / "problem.html", project=project, message=message), 400)
    return await explanations.respond(request, query.get("user", ""), query.get("item", ""), page=True)


def report_page(request: Request) -> Response:
    """The stored report of a night."""
    settings, _ = _state(request)
    night = request.path_params["night"]
    try:
        file = settings.place("home") / "reports" / f"{date.fromisoformat(night)}.html"
    except ValueError:
        raise UnknownUserError(f"{night[:40]!r} is no night; a night is a date such as 2026-03-14") from None
    if not file.is_file():
        raise UnknownUserError(f"no report of the night {night}")
    return HTMLResponse(file.read_bytes())


def _handler(body: Page) -> Page:
    """A handler that shows errors as a page."""

    def handler(request: Request) -> Response:
        try:
            return body(request)
        except NightloomError as error:
            code = 404 if isinstance(error, UnknownUserError) else 503
            project = request.app.state.settings.project.name
            return HTMLResponse(render(TEMPLATES / "problem.html", project=project, message=str(error)), code)

    return handler


def _state(request: Request) -> tuple[Settings, FallbackReader]:
    return request.app.state.settings, request.app.state.lists


def _served(lists: FallbackReader) -> tuple[dict[str, Any] | None, list[Push]]:
    """Meta record and pushes; none where nothing can be read."""
    try:
        return lists.ask_in_thread(lambda snapshot, _: (snapshot.meta, snapshot.pushes()))
    except StoreError:  # the page says why: lists.trouble
        return None, []
