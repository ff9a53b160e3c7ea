"""/proc -> the memory that a project's processes take together: sampled while a block runs, the peak kept.

Proportional set size (a page shared by n processes counts 1/n in each) of this process and all below it, and of every
process that carries the project's NIGHTLOOM_CONFIG in its environment, as Spark's server does, whose parent has ended.
Linux only.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nightloom.settings import CONFIG_VARIABLE, Settings

SECONDS_BETWEEN = 2.0  # adding up a JVM's pages takes some 50 ms


@dataclass
class Peak:
    """Largest sum seen, in bytes."""

    bytes: int = 0

    @property
    def gib(self) -> float:
        return self.bytes / 2**30


@contextmanager
def peak_memory(settings: Settings) -> Iterator[Peak]:
    """Look every SECONDS_BETWEEN for as long as the block runs."""
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
    parents = {int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    ours = {pid for pid in parents if pid == os.getpid() or mark in _read(pid, "environ").split(b"\0")}
    # Airflow's workers write their titles over their environment: they are found by their parents.
    while children := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= children
    return sum(_bytes(pid) for pid in ours)


def _parent(process: Path) -> int:
    stat = _read(int(process.name), "stat")
    return int(stat.rsplit(b")", 1)[1].split()[1]) if stat else 0


def _bytes(pid: int) -> int:
    parts = (line.split() for line in _read(pid, "smaps_rollup").splitlines()[1:])
    return sum(int(size) * 1024 for name, size, *_ in parts if name in (b"Pss:", b"SwapPss:"))


def _read(pid: int, name: str) -> bytes:
    """A file of /proc; empty when the process has ended meanwhile or is another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
