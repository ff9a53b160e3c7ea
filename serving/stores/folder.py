"""Notes and lock of a store in a folder: a note is a file in ROOT/notes, replaced by a rename; the lock is a file lock.

Machines that share the folder share the lock (NFS passes it on). The lock ends with its process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage, rmtree

from nightloom.errors import StoreError
from nightloom.values import now
from serving.stores.manifest import write_manifest
from serving.stores.pushes import POINTER, FailureReason, PushError, concurrent_push, version_name

LOCK, NOTES_LOCK, PART = "push.lock", "lock", ".part"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translate_write_errors(place: Path) -> Iterator[None]:
    """Raises PushError, with the reason `quota` where there is no room, for an operating system's error."""
    try:
        yield
    except OSError as error:
        reason = FailureReason.QUOTA if error.errno in NO_ROOM else FailureReason.STORE
        raise PushError(reason, f"{place} cannot be written ({error}); {_what_to_do(reason)}") from None


def _what_to_do(reason: FailureReason) -> str:
    return "free some room" if reason == FailureReason.QUOTA else "check its disk and its permissions"


class FolderStore:
    """The common part of stores/lmdb.py and stores/files.py."""

    remote = False

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        self.root, self.location = Path(place), place
        self._pointer_file = str(self.root / "notes" / POINTER)
        self._pointer: tuple[int, str | None] = (-1, None)

    def folder(self, version: int) -> Path:
        """The folder of a version's rows."""
        return self.root / version_name(version)

    def read_note(self, name: str) -> str | None:
        file = self.root / "notes" / name
        try:
            return file.read_text(encoding="utf8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{file} cannot be read ({error}); check its disk and its permissions") from None

    def read_notes(self) -> dict[str, str]:
        names = [file.name for file in (self.root / "notes").glob("*") if file.suffix != PART]
        return {name: text for name in names if (text := self.read_note(name)) is not None}

    def write_note(self, name: str, text: str | None) -> None:
        file = self.root / "notes" / name
        with translate_write_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                file.unlink(missing_ok=True)
            else:
                _replace(file, text)
            sync_folder(file.parent)

    def swap_note(self, name: str, before: str | None, after: str) -> bool:
        with translate_write_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / NOTES_LOCK).open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for as long as one note takes
            if self.read_note(name) != before:
                return False
            self.write_note(name, after)
            return True

    def read_pointer(self) -> str | None:
        """Reads the file again only when its time has changed: a call takes some microseconds."""
        try:
            modified_at = os.stat(self._pointer_file).st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError as error:
            where = self._pointer_file
            raise StoreError(f"{where} cannot be read ({error}); check its disk and its permissions") from None
        if modified_at != self._pointer[0]:
            self._pointer = modified_at, self.read_note(POINTER)
        return self._pointer[1]

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        with translate_write_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / LOCK).open("a+", encoding="ascii")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise concurrent_push(self.location, lock.read().strip() or "just begun") from None
            with translate_write_errors(self.root):
                lock.truncate(0)
                lock.write(f"process {os.getpid()} since {now():%H:%M:%S} UTC\n")
                lock.flush()
            yield

    def finish_load(self, version: int) -> None:
        """Record the version's files, and make all of them durable."""
        with translate_write_errors(self.folder(version)):
            write_manifest(self.folder(version))
            sync_folder(self.folder(version))

    def delete_rows(self, version: int) -> None:
        rmtree(self.folder(version), ignore_errors=not self.folder(version).exists())

    def version_bytes(self, version: int) -> int:
        return sum(file.stat().st_size for file in self.folder(version).iterdir())

    def free_bytes(self) -> int:
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
