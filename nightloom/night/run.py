"""How a stage runs as a command: arguments, timing, errors, exit code, and one row in the run records.

A stage's file ends with `run_stage(STAGE, body)`, so no stage writes its record by hand and none can forget to.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from nightloom import settings as settings_module
from nightloom.arguments import Arguments, iso_date
from nightloom.errors import ConcurrentRunError, ExitCode, GateClosedError, NightloomError, machine_fault
from nightloom.lake import now
from nightloom.night import records
from nightloom.night.context import Night, NothingToDo
from nightloom.night.days import require_complete
from nightloom.night.records import StageRun, Status
from nightloom.night.revision import code_revision
from nightloom.night.stages import Stage
from nightloom.night.termination import Termination
from nightloom.signals import undisturbed

RUN_ID_VARIABLE, DAG_VARIABLE = "NIGHTLOOM_RUN_ID", "NIGHTLOOM_DAG"
"""How Airflow's tasks give a stage the id and the DAG of its run."""
MAX_ATTEMPTS = 5
"""Attempts of a stage that conflicts with another run."""


def run_stage(
    stage: Stage,
    body: Callable[[Any], None],
    *,
    context: Callable[..., Any] = Night,
    options: Mapping[str, dict[str, Any]] | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Run a stage as a command: `--date D [--incomplete] [--config FILE]`, then exit with a true code.

    `context` makes the run's context (Spark's stages have one that reads and writes DataFrames). `options` are further
    arguments, flag -> argparse keywords, which the body finds in `night.arguments`.
    """
    arguments = _parser(stage, body, options or {}).parse_args(argv)
    try:
        require_complete(arguments.date, now(), incomplete=arguments.incomplete)
        settings = settings_module.load(arguments.config)
        run_id = os.environ.get(RUN_ID_VARIABLE) or f"hand-{now():%Y%m%dT%H%M%S}"
        night = context(date=arguments.date, settings=settings, run_id=run_id, stage=stage.name, arguments=arguments)
        _run_and_record(night, body)
    except NightloomError as error:
        print(f"{stage.name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if (fault := machine_fault(error)) is None:
            raise
        print(f"{stage.name}: {fault}", file=sys.stderr)
        sys.exit(ExitCode.FAILED)


def _parser(stage: Stage, body: Callable[[Any], None], options: Mapping[str, dict[str, Any]]) -> Arguments:
    parser = Arguments(prog=f"python -m {stage.name}", description=body.__doc__)
    parser.add_argument("--date", type=iso_date, required=True, help="logical date of the night, YYYY-MM-DD")
    parser.add_argument("--incomplete", action="store_true", help="work on a date that is not over")
    parser.add_argument("--config", type=Path, help="nightloom.toml; default $NIGHTLOOM_CONFIG or the working folder's")
    for flag, keywords in options.items():
        parser.add_argument(flag, **keywords)
    return parser


def _run_and_record(night: Night, body: Callable[[Any], None]) -> None:
    """Run the body and record the run, whatever its end."""
    started_at, dag, recorded = now(), os.environ.get(DAG_VARIABLE), False

    def record(status: Status, error: str) -> None:
        nonlocal recorded
        if recorded:  # a signal came when the run had ended
            return
        recorded = True
        tags = night.tags | ({records.DAG_TAG: dag} if dag else {})
        run = StageRun(
            run_id=night.run_id, night=night.date, stage=night.stage, status=status, started_at=started_at,
            seconds=process_seconds(), reads=night.reads, writes=night.writes, rows=night.counts, tags=tags,
            code=code_revision(), config=night.settings.digest, error=error or None,
            peak_memory_bytes=peak_memory_bytes(),
        )  # fmt: skip
        records.append_run(night.lake, run)

    ended: tuple[Status, str] | None = None
    with Termination(night.stage, partial(record, "failed"), night.abandon) as termination:
        try:
            _run_with_retries(night, body)
            ended = "ok", ""
        except NothingToDo as nothing:
            ended = "skipped", str(nothing)
            raise
        except GateClosedError as closed:
            ended = "closed", str(closed)
            raise
        except KeyboardInterrupt:
            raise  # a signal: `termination` records it
        except BaseException as failure:
            ended = "failed", f"{type(failure).__name__}: {failure}"[:2000]
            raise
        finally:
            if ended and not termination.received:
                with undisturbed():
                    record(*ended)
    print(f"{night.stage} {night.date}: " + ", ".join(f"{name} {rows:,}" for name, rows in night.counts.items()))


def _run_with_retries(night: Night, body: Callable[[Any], None]) -> None:
    """Run the body; when another run wrote first, start again: the body then finds the other run's rows."""
    for attempts_left in reversed(range(MAX_ATTEMPTS)):
        try:
            return body(night)
        except ConcurrentRunError as error:
            if not attempts_left:
                raise
            print(f"{night.stage}: {error} Starting again.", file=sys.stderr)
            night.clear_records()
            time.sleep(random.uniform(0.5, 2))


def peak_memory_bytes() -> int:
    """The most memory (resident set) that this process took so far, or the largest of its children that have ended."""
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib << 10


def process_seconds() -> float:
    """Seconds since this process started. The body starts later: a night's time is mostly interpreters that start."""
    started_at = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux, where psutil adds a boot time of whole seconds
        return time.clock_gettime(time.CLOCK_BOOTTIME) - (started_at - psutil.boot_time())
    return time.time() - started_at
