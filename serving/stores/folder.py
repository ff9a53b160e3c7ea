"""Notes and lock of a store in a folder: a note is a file in ROOT/notes, replaced by a rename; the lock is a file lock.

Machines that share the folder share the lock (NFS passes it on). The lock ends with its process, however that ends.
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
from serving.stores.pushes import POINTER, concurrent_push, version_name

LOCK, PART = "push.lock", ".part"


class FolderStore:
    """The common part of stores/lmdb.py and stores/files.py."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root, self.location = root, str(root)
        self._pointer: tuple[int, str | None] = (-1, None)

    def folder(self, version: int) -> Path:
        """The folder of a version's rows."""
        return self.root / version_name(version)

    def read_note(self, name: str) -> str | None:
        try:
            return (self.root / "notes" / name).read_text(encoding="utf8")
        except FileNotFoundError:
            return None

    def read_notes(self) -> dict[str, str]:
        files = (self.root / "notes").glob("*")
        return {file.name: file.read_text(encoding="utf8") for file in files if file.suffix != PART}

    def write_note(self, name: str, text: str | None) -> None:
        file = self.root / "notes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            file.unlink(missing_ok=True)
        else:
            _replace(file, text)
        sync_folder(file.parent)

    def read_pointer(self) -> str | None:
        """Reads the file again only when its time has changed: a call takes some microseconds."""
        try:
            modified_at = (self.root / "notes" / POINTER).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if modified_at != self._pointer[0]:
            self._pointer = modified_at, self.read_note(POINTER)
        return self._pointer[1]

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("a+", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise concurrent_push(self.location, lock.read().strip() or "just begun") from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()} since {now():%H:%M:%S} UTC\n")
            lock.flush()
            yield

    def delete_rows(self, version: int) -> None:
        rmtree(self.folder(version), ignore_errors=not self.folder(version).exists())

    def version_bytes(self, version: int) -> int:
        return sum(file.stat().st_size for file in self.folder(version).iterdir())

    def free_bytes(self) -> int | None:
        return disk_usage(self.root).free


def _replace(file: Path, text: str) -> None:
    """Replace a file's text; a reader, also after a power cut, sees the old text or the new one."""
    # Readers notice a flip by the pointer's time: it must differ however coarse the file system's clock is.
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
