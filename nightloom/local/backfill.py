"""`nightloom backfill`: rebuild the gold tables of past nights by Airflow's own backfill, a bounded chunk at a time.

Airflow's runs are the memory: each keeps in its conf what was asked for, and when, so that the same command after a
kill finds which nights are done. Nothing is published and no champion is moved: see dags/backfill.py.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import click

from nightloom import settings as settings_module
from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS
from nightloom.lake import Lake, now
from nightloom.local.airflow_api import Api
from nightloom.local.airflow_runs import POLL_SECONDS, DagRun, Failure, failures, follow
from nightloom.local.airflow_server import airflow_server, free_port
from nightloom.local.airflow_setup import AirflowError, airflow_environment
from nightloom.local.backfill_comparison import compare, print_differences
from nightloom.local.night import raise_failures
from nightloom.local.remote_airflow import remote_airflow, remote_failures, require_started
from nightloom.settings import Settings
from nightloom.signals import terminable

DAG, REBUILD = "backfill", "rebuild"
AS_PUBLISHED = "as-published"
NIGHTS_IN_A_CHUNK = 7
STARTS = timedelta(days=1, hours=2)  # a night's run starts so long after its date began
ANY_PORT = 0


class BackfillError(AirflowError):
    """Nights could not be rebuilt; calling again goes on with those that are left."""


@dataclass(frozen=True)
class BackfillRequest:
    """What was asked for. The conf of each run keeps it. ISO dates."""

    first: str
    last: str
    model: str
    from_bronze: bool
    at: str
    """When it was asked for. It tells a new backfill from one that goes on."""

    @property
    def nights(self) -> list[date]:
        first = date.fromisoformat(self.first)
        return [first + timedelta(days=n) for n in range((date.fromisoformat(self.last) - first).days + 1)]

    @property
    def conf(self) -> dict[str, Any]:
        return {"model": self.model, "asked": asdict(self)}

    def left(self, runs: list[DagRun]) -> list[date]:
        """Nights that were not rebuilt yet."""
        done = {run.night for run in runs if run.state == "success" and run.conf.get("asked") == asdict(self)}
        return [night for night in self.nights if night not in done]


class ModelOption(click.ParamType[str]):
    """Which model scores: as-published, champion or a version's number."""

    name = f"{AS_PUBLISHED}|champion|VERSION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in (AS_PUBLISHED, "champion") and not value.isdecimal():
            self.fail(f"found '{value}', expected {self.name}", param, ctx)
        return str(value)


@click.command()
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First night.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last night.")
@click.option(
    "--chunk",
    type=click.IntRange(1),
    default=NIGHTS_IN_A_CHUNK,
    show_default=True,
    help="Nights handed to Airflow at once; a night that fails ends the backfill with its chunk.",
)
@click.option(
    "--model", type=ModelOption(), default=AS_PUBLISHED, show_default=True, help="Or `champion`, or a version."
)
@click.option("--from-bronze", is_flag=True, help="Rebuild all of silver first, from bronze alone.")
@click.option("--compare", "compared", is_flag=True, help="Then show how each night differs from what was published.")
@click.option("--compare-only", is_flag=True, help="Rebuild nothing: only show how the nights differ.")
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON on stdout, progress on stderr.")
def backfill(
    first: datetime, last: datetime, chunk: int, model: str, from_bronze: bool, compared: bool, compare_only: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Rebuild the gold tables of past nights; publishes nothing. Call it again after a kill, and it goes on.

    With places.airflow_url the Airflow there does the work.
    """
    settings = settings_module.load(reach=False)
    if not settings.places.airflow_url or compared or compare_only:  # else the places are there, not here
        settings = settings_module.load()
    moment = now().isoformat(timespec="seconds")
    request = BackfillRequest(str(first.date()), str(last.date()), model, from_bronze, moment)
    _check(settings, request)
    if not compare_only:
        run(settings, request, chunk, lambda line: click.echo(line, err=as_json))
    if compared or compare_only:
        print_differences(compare(settings, request.nights), as_json)


def _check(settings: Settings, request: BackfillRequest) -> None:
    """Raise BackfillError for nights that cannot be rebuilt."""
    newest = (now() - STARTS).date()
    if not request.nights or request.nights[-1] > newest:
        raise BackfillError(
            f"found --from {request.first} --to {request.last}, expected nights up to {newest}, the last that is over"
        )
    if not settings.places.airflow_url:  # the lake of an Airflow elsewhere may be out of reach
        Lake(settings.place("lake")).open(BRONZE_EVENTS if request.from_bronze else INTERACTIONS)


def run(settings: Settings, request: BackfillRequest, chunk: int, say: Callable[[str], None]) -> None:
    """Rebuild the nights of a request that are left. Raises BackfillError when nights failed."""
    began = time.monotonic()
    with terminable():
        nights = (_run_remotely if settings.places.airflow_url else _run_here)(settings, request, chunk, say)
    say(f"{nights} nights rebuilt in {time.monotonic() - began:.0f} s")


def _run_here(settings: Settings, request: BackfillRequest, chunk: int, say: Callable[[str], None]) -> int:
    """With an Airflow and a Spark server of our own; returns how many nights were left."""
    with _warm_spark(settings) as start_spark, airflow_server(settings, free_port(ANY_PORT)) as server:

        def why(dag: str, run: str) -> list[Failure]:
            return failures(settings, server.api, dag, run, lambda task: server.task_log(dag, run, task))

        return RunningBackfill(server.api, say, server.check, why).rebuild(request, chunk, start_spark)


def _run_remotely(settings: Settings, request: BackfillRequest, chunk: int, say: Callable[[str], None]) -> int:
    """In an Airflow elsewhere, with the Spark that its tasks have."""
    with remote_airflow(settings) as api:
        require_started(api, REBUILD)
        running = RunningBackfill(api, say, lambda: None, partial(remote_failures, api))
        return running.rebuild(request, chunk, lambda: None)


def chunks(nights: list[date], size: int) -> list[list[date]]:
    """Nights in order, split where one is missing and after `size`: Airflow takes a first and a last."""
    made: list[list[date]] = []
    for night in nights:
        if made and night - made[-1][-1] == timedelta(days=1) and len(made[-1]) < size:
            made[-1].append(night)
        else:
            made.append([night])
    return made


@dataclass(frozen=True)
class RunningBackfill:
    """A backfill in a running Airflow."""

    api: Api
    say: Callable[[str], None]
    check: Callable[[], None]
    """Raises when nobody works on it any more."""
    why: Callable[[str, str], list[Failure]]
    """DAG and run -> why its tasks failed."""

    def rebuild(self, request: BackfillRequest, chunk: int, start_spark: Callable[[], None]) -> int:
        """Rebuild the nights that are left; returns how many. Raises BackfillError when nights failed."""
        request = self.resume(request)
        start_spark()
        self.rebuild_inputs(request)
        left = request.left(self.api.nights(DAG))
        if len(left) < len(request.nights):
            self.say(f"{len(request.nights) - len(left)} of {len(request.nights)} nights are rebuilt already")
        for nights in chunks(left, chunk):
            self.rebuild_nights(request, nights)
        return len(left)

    def resume(self, request: BackfillRequest) -> BackfillRequest:
        """End what a killed backfill left, its DAG still paused. The killed one's request, where it is the same."""
        if (left := self.api.open_backfill(DAG)) is not None:
            self.api.end_backfill(left)
        for unfinished in self.api.nights(DAG):
            if not unfinished.over:
                self.api.fail(DAG, unfinished.run)
        before = self._last_request()
        if before is None or replace(before, at=request.at) != request or not before.left(self.api.nights(DAG)):
            return request
        self.say(f"Going on with what was asked for at {before.at}")
        return before

    def _last_request(self) -> BackfillRequest | None:
        newest = self.api.newest(REBUILD)
        runs = self.api.nights(DAG) + ([newest] if newest else [])
        asked = [run.conf.get("asked", {}) for run in runs]  # a run that Airflow's page started has none
        found = [BackfillRequest(**each) for each in asked if each.keys() == BackfillRequest.__annotations__.keys()]
        return max(found, key=lambda request: request.at, default=None)

    def rebuild_inputs(self, request: BackfillRequest) -> None:
        """Rebuild what the nights are made of, unless that is done. Raises what a night raises when a task failed."""
        newest = self.api.newest(REBUILD)
        if newest is None or newest.conf.get("asked") != asdict(request) or newest.state == "failed":
            conf = {"date": request.last, "from_bronze": request.from_bronze, "asked": asdict(request)}
            made = self.api.trigger(REBUILD, conf)
        else:
            made = newest.run
        for _ in follow(self.api, REBUILD, made, self.check):
            pass
        raise_failures(self.api, REBUILD, made, self.why(REBUILD, made))
        self.say("Silver is rebuilt from bronze" if request.from_bronze else "Histories and item days are up to date")

    def rebuild_nights(self, request: BackfillRequest, nights: list[date]) -> None:
        """One of Airflow's backfills, from its start to its end. Raises BackfillError when a night failed."""
        made = self.api.backfill(DAG, str(nights[0]), str(nights[-1]), request.conf)
        self.api.pause(DAG, False)
        failed = [run for run in self._finished(request, nights) if run.state == "failed"]
        self.api.pause(DAG, True)
        self.api.end_backfill(made)  # the scheduler looks whether it is over only each 30 s
        if failed:
            raise BackfillError("\n".join([*map(self._reasons, failed), "The same command again does what is left"]))

    def _finished(self, request: BackfillRequest, nights: list[date]) -> Iterator[DagRun]:
        """The nights' runs as they end, a line for each."""
        waiting = set(nights)
        while waiting:
            self.check()
            for run in self.api.nights(DAG, since=min(waiting)):
                if run.night in waiting and run.over and run.conf.get("asked") == asdict(request):
                    waiting.remove(run.night)
                    place, all_of = request.nights.index(run.night) + 1, len(request.nights)
                    state = "FAILED" if run.state == "failed" else ""
                    self.say(f"{place:>4} of {all_of}  {run.night}  {run.seconds:6.1f} s  {state}".rstrip())
                    yield run
            time.sleep(POLL_SECONDS)

    def _reasons(self, run: DagRun) -> str:
        found = self.why(DAG, run.run)
        return "\n".join(f"{run.night}: {failure.task}: {failure.why}" for failure in found) or f"{run.night}: failed"


@contextmanager
def _warm_spark(settings: Settings) -> Iterator[Callable[[], None]]:
    """Give the function that starts the Spark server of all nights. It ends with the block.

    A kill of this process leaves the server running, which does no harm: the next one finds it, and ends it.
    """
    environment, started = airflow_environment(settings), False

    def spark(action: str) -> None:
        command = [sys.executable, "-m", "spark_jobs.session", action]
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            raise BackfillError(f"the Spark server did not {action}; its output is above")

    def start() -> None:
        nonlocal started
        started = True
        spark("start")

    try:
        yield start
    finally:
        if started:
            spark("stop")
