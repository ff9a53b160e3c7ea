"""The metrics of the nights as a file that all workers of a machine share, made again when a run was recorded."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import math
import os
import sys
import time

from nightloom.errors import NightloomError
from nightloom.night.records import RECORDS
from nightloom.places import files_below, write_text
from nightloom.settings import Settings

LOOK_SECONDS = 30
"""So often a scrape looks for new run records."""
WAIT_SECONDS = 5.0
"""The longest time that a scrape waits for new text; after it, the scrape gets the text before, and the next one the
new text. Prometheus waits 10 s by default."""
MOST_SECONDS = 120.0
"""Reading the records may take so long."""
NEVER_RUN = "- -"
log = logging.getLogger(__name__)


class KeptStageRuns:
    """One for each worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = settings.place("scratch") / "serving" / "stage_metrics.json"
        self._looked_at = -math.inf
        self._work: asyncio.Task[None] | None = None

    async def text(self) -> str:
        """The newest text; empty before the first night, and where this machine cannot read the lake."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS and (self._work is None or self._work.done()):
            self._looked_at = time.monotonic()
            self._work = asyncio.create_task(self._renew())
        if self._work is not None and not self._work.done():
            await asyncio.wait([self._work], timeout=WAIT_SECONDS)
        return self._read()["text"]

    async def close(self) -> None:
        """End the work that runs."""
        if self._work is not None and not self._work.done():
            self._work.cancel()
            await asyncio.wait([self._work])

    def _read(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(self._file.read_text(encoding="utf8"))
            return {"commits": found["commits"], "text": found["text"]}
        except (OSError, ValueError, KeyError, TypeError):  # not made yet, or cut: it is made again
            return {"commits": "", "text": ""}

    async def _renew(self) -> None:
        from obstore.exceptions import BaseError

        try:
            commits = await asyncio.to_thread(self._newest_commits)
            if commits in (NEVER_RUN, self._read()["commits"]):
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                text = await self._run()
                write_text(self._file, json.dumps({"commits": commits, "text": text}))
        except BlockingIOError:  # another worker is at it
            return
        except (OSError, NightloomError, BaseError) as error:  # the other metrics are there without it
            log.warning("the run records cannot be read, so /metrics has the stages as they were: %s", error)

    def _newest_commits(self) -> str:
        """What changes with each commit of the two tables."""
        lake = self._settings.place("lake")
        logs = [lake / table.folder / "_delta_log" for table in RECORDS]
        return " ".join(max((file.name for file in files_below(each)), default="-") for each in logs)

    async def _run(self) -> str:
        command = [sys.executable, "-m", "serving.metrics.stage_runs", str(self._settings.file)]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            async with asyncio.timeout(MOST_SECONDS):
                text, errors = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        if process.returncode:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise ChildProcessError(f"{' '.join(command)} ended with {process.returncode}: {''.join(last)}")
        return text.decode()
