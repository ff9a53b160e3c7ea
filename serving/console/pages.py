"""The console's routes. Handlers are plain functions: Starlette runs them in threads, since they read Delta tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.lake import Lake
from nightloom.night import records, stages
from nightloom.night.records import StageRun
from nightloom.pages.html import render
from nightloom.settings import Settings
from serving import answers
from serving.console.quality import data_docs, quality
from serving.explain import build_explanation
from serving.history import read_history
from serving.stores import versions
from serving.stores.reader import Reader, Snapshot

TEMPLATES = Path(__file__).parent / "templates"
NIGHTS_SHOWN = 7
HISTORY_SHOWN = 40
Page = Callable[[Request], Response]


@dataclass(frozen=True)
class NightRow:
    """One night on the page."""

    night: date
    stages: list[StageRun]
    report: bool

    @property
    def outcome(self) -> str:
        """published, closed, failed or unfinished."""
        return records.outcome(self.stages)

    @property
    def why(self) -> str:
        """Which stage stopped it, and its error."""
        stopped = records.stopping_run(self.stages)
        return f"{stopped.stage}: {stopped.error}" if stopped else ""

    @property
    def seconds(self) -> float:
        """Work, not waiting: the stages' seconds added up."""
        return sum(stage.seconds for stage in self.stages)


def routes() -> list[Route]:
    """Every page of the console."""
    return [
        Route("/", _page(home)),
        Route("/user", _page(user)),
        Route("/explain", _page(why)),
        Route("/reports/{night}", _page(report)),
        Route("/quality", _page(quality)),
        Route("/data-docs/{page:path}", _page(data_docs)),
    ]


def home(request: Request) -> Response:
    """What is served, how fresh, which gates opened, the last nights, the versions."""
    settings, reader = _state(request)
    lake, snapshot = Lake(settings.place("lake")), _served(reader)
    shown = night_rows(settings, NIGHTS_SHOWN)
    newest = shown[0].night if shown else None
    pushes = versions.list_pushes(reader.store)
    return HTMLResponse(
        render(
            TEMPLATES / "home.html", project=settings.project.name, meta=snapshot and snapshot.meta, stale=reader.stale,
            nights=shown, gates=records.gate_results_up_to(lake, newest) if newest else {}, pushes=pushes[::-1],
            gate_order=[stage.gate for stage in stages.GATES],
        )
    )  # fmt: skip


def night_rows(settings: Settings, limit: int) -> list[NightRow]:
    """The newest nights, newest first."""
    reports = settings.place("home") / "reports"
    found = records.newest_nights(Lake(settings.place("lake")), limit)
    return [
        NightRow(night, last, (reports / f"{night}.html").exists())
        for night, last in ((night, records.last_attempts(runs)) for night, runs in found.items())
    ]


def user(request: Request) -> Response:
    """One user: history with titles and weights, list with scores and a way to the reasons."""
    settings, reader = _state(request)
    asked = request.query_params.get("id", "").strip()
    snapshot = reader.now(asked)
    answer = json.loads(answers.recommendations(snapshot, asked, snapshot.meta["stored"]))
    history = read_history(Lake(settings.place("lake")), snapshot.meta["night"], asked)
    newest = [event | {"title": snapshot.title(event["item_id"])} for event in history[::-1][:HISTORY_SHOWN]]
    cards = {item["item_id"]: snapshot.get("items", item["item_id"]) or {} for item in answer["items"]}
    return HTMLResponse(
        render(
            TEMPLATES / "user.html", project=settings.project.name, user=asked, answer=answer, history=newest,
            cards=cards, events=len(history), k=snapshot.meta["k"], meta=snapshot.meta,
        )
    )  # fmt: skip


def why(request: Request) -> Response:
    """Why one user is shown one item."""
    settings, reader = _state(request)
    asked = request.query_params
    found = build_explanation(settings, reader, asked.get("user", ""), asked.get("item", ""))
    return HTMLResponse(render(TEMPLATES / "explain.html", project=settings.project.name, why=found))


def report(request: Request) -> Response:
    """The report that a night left, as it was written."""
    settings, _ = _state(request)
    file = settings.place("home") / "reports" / f"{Path(request.path_params['night']).name}.html"
    if not file.is_file():
        raise UnknownUserError(f"no report of the night {request.path_params['night']}")
    return FileResponse(file)


def _page(body: Page) -> Page:
    """A handler whose errors are a page too."""

    def handler(request: Request) -> Response:
        try:
            return body(request)
        except NightloomError as error:
            code = 404 if isinstance(error, UnknownUserError) else 503 if isinstance(error, StoreError) else 500
            project = request.app.state.settings.project.name
            return HTMLResponse(render(TEMPLATES / "problem.html", project=project, message=str(error)), code)

    return handler


def _state(request: Request) -> tuple[Settings, Reader]:
    return request.app.state.settings, request.app.state.reader


def _served(reader: Reader) -> Snapshot | None:
    """The snapshot, None before the first publish."""
    if versions.current_version(reader.store) is None:
        return None
    return reader.now()
