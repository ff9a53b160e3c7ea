"""/proc -> the memory that a project's processes take together: sampled while a block runs, the peak kept.

Proportional set size (a page shared by n processes counts 1/n in each) of every process that carries the project's
NIGHTLOOM_CONFIG in its environment, wherever its parent went: Airflow, the stages, Spark's JVM. Linux only.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nightloom.settings import CONFIG_VARIABLE, Settings

SECONDS_BETWEEN = 1.0


@dataclass
class Peak:
    """Largest sum seen, in bytes."""

    bytes: int = 0

    @property
    def gib(self) -> float:
        return self.bytes / 2**30


@contextmanager
def peak_memory(settings: Settings) -> Iterator[Peak]:
    """Look once a second for as long as the block runs."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(SECONDS_BETWEEN):
            peak.bytes = max(peak.bytes, together(settings))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def together(settings: Settings) -> int:
    """Bytes that this process and the project's other processes take now."""
    mark = f"{CONFIG_VARIABLE}={settings.file}".encode()
    processes = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return sum(_bytes(process) for process in processes if _belongs(process, mark))


def _belongs(process: Path, mark: bytes) -> bool:
    try:
        return process.name == str(os.getpid()) or mark in (process / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile, or is another user's
        return False


def _bytes(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
