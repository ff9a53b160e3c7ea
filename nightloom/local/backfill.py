"""`nightloom backfill`: the gold tables of past nights anew, by Airflow's own backfill, a bounded chunk at a time.

Airflow's database is the memory: each run keeps what was asked for, and when, so that the same command after a kill
finds which nights are done. Nothing is published and no champion moved: see dags/backfill.py.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from nightloom import settings as settings_module
from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS
from nightloom.lake import Lake, now
from nightloom.local.airflow_home import AirflowError, airflow_environment
from nightloom.local.airflow_runs import NightRun, Runs, failures
from nightloom.local.airflow_server import Server, airflow_server, free_port
from nightloom.local.backfill_comparison import compare, show
from nightloom.local.night import judge_run, terminable
from nightloom.settings import Settings

DAG, REBUILD = "backfill", "rebuild"
AS_PUBLISHED = "as-published"
NIGHTS_IN_A_CHUNK = 7
STARTS = timedelta(days=1, hours=2)  # a night's run starts so long after its date began
POLL_SECONDS = 0.3
ANY_PORT = 0


class BackfillError(AirflowError):
    """Nights could not be rebuilt; calling again goes on with those that are left."""


@dataclass(frozen=True)
class Asked:
    """What was asked for, kept in the conf of each run. ISO dates."""

    first: str
    last: str
    model: str
    from_bronze: bool
    at: str
    """When: tells a new backfill from one that goes on."""

    @property
    def nights(self) -> list[date]:
        first = date.fromisoformat(self.first)
        return [first + timedelta(days=n) for n in range((date.fromisoformat(self.last) - first).days + 1)]

    @property
    def conf(self) -> dict[str, Any]:
        return {"model": self.model, "asked": asdict(self)}

    def left(self, runs: list[NightRun]) -> list[date]:
        """Nights that were not rebuilt yet."""
        done = {run.night for run in runs if run.state == "success" and run.conf.get("asked") == asdict(self)}
        return [night for night in self.nights if night not in done]


class Model(click.ParamType[str]):
    """Whose lists: as-published, champion or a version's number."""

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
@click.option("--model", type=Model(), default=AS_PUBLISHED, show_default=True, help="Or `champion`, or a version.")
@click.option("--from-bronze", is_flag=True, help="Make silver anew first, whole, from bronze alone.")
@click.option("--compare", "compared", is_flag=True, help="Then say how each night differs from what was published.")
@click.option("--compare-only", is_flag=True, help="Rebuild nothing: only say how the nights differ.")
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON on stdout, progress on stderr.")
def backfill(
    first: datetime, last: datetime, chunk: int, model: str, from_bronze: bool, compared: bool, compare_only: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Rebuild the gold tables of past nights; publishes nothing. Call it again after a kill, and it goes on."""
    settings = settings_module.load()
    asked = Asked(str(first.date()), str(last.date()), model, from_bronze, now().isoformat(timespec="seconds"))
    _check(settings, asked)
    if not compare_only:
        run(settings, asked, chunk, lambda line: click.echo(line, err=as_json))
    if compared or compare_only:
        show(compare(settings, asked.nights), as_json)


def _check(settings: Settings, asked: Asked) -> None:
    """Raise BackfillError for nights that cannot be rebuilt."""
    newest = (now() - STARTS).date()
    if not asked.nights or asked.nights[-1] > newest:
        raise BackfillError(
            f"found --from {asked.first} --to {asked.last}, expected nights up to {newest}, the last that is over"
        )
    needed = BRONZE_EVENTS if asked.from_bronze else INTERACTIONS
    Lake(settings.place("lake")).open(needed)


def run(settings: Settings, asked: Asked, chunk: int, say: Callable[[str], None]) -> None:
    """Rebuild what is left of what was asked for. Raises BackfillError when nights failed."""
    began = time.monotonic()
    with terminable(), _warm_spark(settings) as warm, airflow_server(settings, free_port(ANY_PORT)) as server:
        work = Work(settings, server, Runs(server.home), say)
        asked = work.settle(asked)
        warm()
        work.rebuild(asked)
        left = asked.left(work.nights())
        if len(left) < len(asked.nights):
            say(f"{len(asked.nights) - len(left)} of {len(asked.nights)} nights are rebuilt already")
        for nights in chunks(left, chunk):
            work.chunk(asked, nights)
    say(f"{len(left)} nights rebuilt in {time.monotonic() - began:.0f} s")


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
class Work:
    """A backfill at work in a running Airflow."""

    settings: Settings
    server: Server
    runs: Runs
    say: Callable[[str], None]

    def nights(self) -> list[NightRun]:
        return self.runs.of_nights(DAG)

    def settle(self, asked: Asked) -> Asked:
        """End what a killed backfill left, its DAG still paused -> what it was asked for, where that is the same."""
        if (left := self.runs.open_backfill(DAG)) is not None:
            self.server.end_backfill(left)
        for unfinished in self.nights():
            if not unfinished.over:
                self.server.give_up(DAG, unfinished.run)
        before = self._before()
        if before is None or replace(before, at=asked.at) != asked or not before.left(self.nights()):
            return asked
        self.say(f"Going on with what was asked for at {before.at}")
        return before

    def _before(self) -> Asked | None:
        """What was asked for last."""
        newest = self.runs.newest(REBUILD)
        confs = [each.conf for each in self.nights()] + ([self.runs.conf(REBUILD, newest)] if newest else [])
        asked = [conf.get("asked", {}) for conf in confs]  # a run that Airflow's page started has none
        found = [Asked(**each) for each in asked if each.keys() == Asked.__annotations__.keys()]
        return max(found, key=lambda asked: asked.at, default=None)

    def rebuild(self, asked: Asked) -> None:
        """What the nights are made of, unless that is done. Raises what a night raises when a task failed."""
        run = self.runs.newest(REBUILD)
        if run is None or self.runs.conf(REBUILD, run).get("asked") != asdict(asked) or self._failed(run):
            conf = {"date": asked.last, "from_bronze": asked.from_bronze, "asked": asdict(asked)}
            run = self.server.trigger(REBUILD, conf)
        for _ in self.runs.follow(REBUILD, run, self.server.check):
            pass
        judge_run(self.settings, self.runs, REBUILD, run, self._log(REBUILD, run))
        self.say("Silver is made anew from bronze" if asked.from_bronze else "Histories and item days are up to date")

    def _failed(self, run: str) -> bool:
        return self.runs.state(REBUILD, run) == "failed"

    def chunk(self, asked: Asked, nights: list[date]) -> None:
        """One of Airflow's backfills, from its start to its end. Raises BackfillError when a night failed."""
        made = self.server.backfill(DAG, str(nights[0]), str(nights[-1]), asked.conf)
        self.server.pause(DAG, False)
        failed = [run for run in self._ends(asked, nights) if run.state == "failed"]
        self.server.pause(DAG, True)
        self.server.end_backfill(made)  # the scheduler looks whether it is over only each 30 s
        if failed:
            raise BackfillError("\n".join([*map(self._why, failed), "The same command again does what is left"]))

    def _ends(self, asked: Asked, nights: list[date]) -> Iterator[NightRun]:
        """The nights' runs as they end, each told."""
        waiting = set(nights)
        while waiting:
            self.server.check()
            for run in self.nights():
                if run.night in waiting and run.over and run.conf.get("asked") == asdict(asked):
                    waiting.remove(run.night)
                    place, all_of = asked.nights.index(run.night) + 1, len(asked.nights)
                    self.say(f"{place:>4} of {all_of}  {run.night}  {run.seconds:6.1f} s  {_told(run)}".rstrip())
                    yield run
            time.sleep(POLL_SECONDS)

    def _why(self, run: NightRun) -> str:
        found = failures(self.settings, self.runs, DAG, run.run, self._log(DAG, run.run))
        return "\n".join(f"{run.night}: {failure.task}: {failure.why}" for failure in found) or f"{run.night}: failed"

    def _log(self, dag: str, run: str) -> Callable[[str], Path]:
        return lambda task: self.server.task_log(dag, run, task)


def _told(run: NightRun) -> str:
    return "FAILED" if run.state == "failed" else ""


@contextmanager
def _warm_spark(settings: Settings) -> Iterator[Callable[[], None]]:
    """What starts the Spark server that all nights share; it ends with the block, one that a killed backfill left too.

    It outlives a kill of this process, which does no harm: whoever starts one next finds it.
    """
    environment, started = airflow_environment(settings), False

    def spark(action: str) -> None:
        command = [sys.executable, "-m", "spark_jobs.session", action]
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            raise BackfillError(f"the Spark server did not {action}; what it said is above")

    def start() -> None:
        nonlocal started
        started = True
        spark("start")

    try:
        yield start
    finally:
        if started:
            spark("stop")
