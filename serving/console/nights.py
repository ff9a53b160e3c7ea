"""The console's nights: each with its stages, times and gates, and one night opened."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from nightloom.errors import UnknownUserError
from nightloom.lake import Lake, now
from nightloom.local.airflow_runs import output
from nightloom.night import records, stages
from nightloom.night.days import last_complete_day
from nightloom.night.records import StageRun
from nightloom.settings import Settings
from serving.console.charts import Bars, bars
from serving.console.layout import lake_of, page_response, served, show
from serving.night_status import served_nights

NIGHTS_SHOWN = 14
LINES_SHOWN = 400
PAGES = {"": "Report", "slate-": "Gate 3's page"}
"""Start of a page's name in HOME/reports -> what it is."""


@dataclass(frozen=True)
class TimedRun:
    """A stage's run with its place on the night's time line, both shares of 100."""

    run: StageRun
    left: float
    width: float


@dataclass(frozen=True)
class NightRow:
    """One night on the page."""

    night: date
    runs: list[StageRun]
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
    def stopped(self) -> StageRun | None:
        """The run that kept the lists from the readers, where they did not get them."""
        return None if self.outcome == "published" else records.stopping_run(self.runs)

    @property
    def why(self) -> str:
        """Which stage stopped it, and its error."""
        return f"{self.stopped.stage}: {self.stopped.error}" if self.stopped else ""

    @property
    def seconds(self) -> float:
        """The sum of the stages' seconds, without waiting times."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def new_events(self) -> int:
        """Events that it took in."""
        return sum(run.rows.get("bronze.events", 0) for run in self.stages if run.stage == stages.BRONZE.name)


def night_rows(settings: Settings, limit: int, served_nights: Collection[date]) -> list[NightRow]:
    """The newest nights, newest first; `served_nights` are those of which the store has a version."""
    found = records.newest_nights(Lake(settings.place("lake")), limit)
    return [NightRow(night, runs, night in served_nights) for night, runs in found.items()]


def time_line(runs: list[StageRun]) -> list[TimedRun]:
    """Where each run is between the first start and the last end of all of them."""
    if not runs:
        return []
    first, last = min(run.started_at for run in runs), max(run.ended_at for run in runs)
    whole = max((last - first).total_seconds(), 1e-6)
    return [
        TimedRun(run, 100 * (run.started_at - first).total_seconds() / whole, min(100 * run.seconds / whole, 100.0))
        for run in runs
    ]


def nights_page(request: Request) -> Response:
    """The last nights: how each ended, how long it took, how much it took in."""
    settings: Settings = request.app.state.settings
    _, pushes = served(request.app.state.lists)
    found = night_rows(settings, NIGHTS_SHOWN, served_nights(pushes))
    oldest_first = found[::-1]
    return show(
        request, "nights.html", "Nights", nights=found, most=NIGHTS_SHOWN, next=last_complete_day(now()),
        seconds=_chart(oldest_first, [night.seconds for night in oldest_first]),
        events=_chart(oldest_first, [float(night.new_events) for night in oldest_first]),
    )  # fmt: skip


def _chart(nights: list[NightRow], values: list[float]) -> Bars:
    tones = {"closed": "bad", "failed": "bad", "published": "", "unfinished": "warn", "not run": "warn"}
    return bars([(str(night.night), value, tones[night.outcome]) for night, value in zip(nights, values, strict=True)])


def night_page(request: Request) -> Response:
    """One night: its stages on a time line, its gates with what they found, its pages and logs, what can be done."""
    settings: Settings = request.app.state.settings
    night, lake = parse_night(request.path_params["night"]), lake_of(request)
    _, pushes = served(request.app.state.lists)
    row = NightRow(night, records.stage_runs(lake, night=night), night in served_nights(pushes))
    reports = settings.place("home") / "reports"
    pages = {name: text for name, text in PAGES.items() if (reports / f"{name}{night}.html").is_file()}
    return show(
        request, "night.html", "Nights", row=row, night=night, line=time_line(row.stages),
        others={dag: time_line(runs) for dag, runs in row.other_dags.items()},
        gates=records.gate_results(lake, night), gate_order=[stage.gate for stage in stages.GATES], pages=pages,
        docs=(settings.place("docs") / "index.html").is_file(), links=_airflow_links(settings, row.runs),
        logs=bool(_logs(settings, night)), complete=night <= last_complete_day(now()),
    )  # fmt: skip


def log_page(request: Request) -> Response:
    """What a stage's command wrote in the newest run of its night on this machine."""
    night, stage = parse_night(request.path_params["night"]), request.query_params.get("stage", "")
    logs = _logs(request.app.state.settings, night)
    if not logs or stage not in {each.name for each in stages.ALL}:
        raise UnknownUserError(f"no log of {stage[:80]} of the night {night} on this machine; look into Airflow")
    return show(
        request, "log.html", "Nights", night=night, stage=stage, file=logs[-1],
        lines=output(logs[-1], stage)[-LINES_SHOWN:],
    )  # fmt: skip


def report_page(request: Request) -> Response:
    """A stored page of a night: its report, or gate 3's."""
    settings: Settings = request.app.state.settings
    name = request.path_params["name"]
    start = next((each for each in PAGES if each and name.startswith(each)), "")
    night = parse_night(name.removeprefix(start))
    file = settings.place("home") / "reports" / f"{start}{night}.html"
    if not file.is_file():
        raise UnknownUserError(f"no report of the night {night}")
    return page_response(file.read_bytes())


def parse_night(text: str) -> date:
    """A night in a path. Raises UnknownUserError for what is no date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UnknownUserError(f"{text[:40]!r} is no night; a night is a date such as 2026-03-14") from None


def _logs(settings: Settings, night: date) -> list[Any]:
    """Logs of the night's runs on this machine, the oldest first."""
    return sorted((settings.place("airflow") / "logs").glob(f"{records.NIGHTLY}-{night}-*.log"))


def _airflow_links(settings: Settings, runs: list[StageRun]) -> dict[str, str]:
    """Run -> its page in the Airflow that places.airflow_url names; none without one."""
    if (url := settings.places.airflow_url) is None:
        return {}
    by_airflow = {run.run_id: run.dag for run in runs if not run.run_id.startswith("hand-")}
    return {run: f"{url.rstrip('/')}/dags/{dag}/runs/{quote(run, safe='')}" for run, dag in by_airflow.items()}
