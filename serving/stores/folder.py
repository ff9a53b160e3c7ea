"""Notes of a store that is a folder: one file each in ROOT/notes, put in place by a rename; the lock is a file's.

Whoever shares the folder shares the lock (NFS passes it on); it ends with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage, rmtree

from nightloom.lake import now
from serving.stores import versions
from serving.stores.versions import PushError, Reason

LOCK, PART = "push.lock", ".part"


class Folder:
    """What stores/lmdb.py and stores/files.py have in common."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)
        self._pointer: tuple[int, str | None] = (-1, None)

    def folder(self, version: int) -> Path:
        """Where a version's rows are."""
        return self.root / versions.name(version)

    def note(self, name: str) -> str | None:
        try:
            return (self.root / "notes" / name).read_text(encoding="utf8")
        except FileNotFoundError:
            return None

    def notes(self) -> dict[str, str]:
        files = (self.root / "notes").glob("*")
        return {file.name: file.read_text(encoding="utf8") for file in files if file.suffix != PART}

    def write(self, name: str, text: str | None) -> None:
        file = self.root / "notes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            file.unlink(missing_ok=True)
        else:
            _replace(file, text)
        sync_folder(file.parent)

    def pointer(self) -> str | None:
        """By the time of its file: some microseconds."""
        try:
            at = (self.root / "notes" / versions.POINTER).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if at != self._pointer[0]:
            self._pointer = at, self.note(versions.POINTER)
        return self._pointer[1]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("a+", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise PushError(
                    Reason.CONCURRENT_PUSH,
                    f"{self.where}: another push is under way ({lock.read().strip() or 'just begun'}); "
                    "wait for it to end",
                ) from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()} since {now():%H:%M:%S} UTC\n")
            lock.flush()
            yield

    def clear(self, version: int) -> None:
        rmtree(self.folder(version), ignore_errors=not self.folder(version).exists())

    def size(self, version: int) -> int:
        return sum(file.stat().st_size for file in self.folder(version).iterdir())

    def free(self) -> int | None:
        return disk_usage(self.root).free


def _replace(file: Path, text: str) -> None:
    """Write a file so that a reader, or a power cut, sees all of the old or all of the new."""
    # Readers tell a flip by the time of the pointer: it must differ however coarse the file system's clock is.
    before = file.stat().st_mtime_ns if file.exists() else 0
    part = file.with_name(file.name + PART)
    with part.open("w", encoding="utf8") as handle:
        handle.write(text)
        handle.flush()
        os.utime(handle.fileno(), ns=(moment := max(time.time_ns(), before + 1), moment))
        os.fsync(handle.fileno())
    part.replace(file)


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
