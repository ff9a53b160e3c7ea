"""The files of backups in a folder or in object storage: each content once, under its SHA-256.

objects/ab/abcd...                the content of one or more files
backups/TIME-DIGEST.json.gz       one backup: which files it holds; written last, so a killed backup leaves none

A further backup copies only contents that are not there yet. Every content is compared with its name when it is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from nightloom.errors import NightloomError
from nightloom.places import Place, files_below, replacement

BLOCK = 1 << 20
OBJECTS, BACKUPS, ENDING = "objects", "backups", ".json.gz"


class BackupError(NightloomError):
    """A backup is damaged, incomplete or not there."""


class FileChangedError(Exception):
    """A file changed, or vanished, while it was copied."""


@dataclass(frozen=True)
class Entry:
    """One file of a backup."""

    part: str
    """Which place it is from: lake, store, ..."""
    name: str
    """Its path below that place."""
    modified: float
    """Seconds since 1970."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Backup:
    """One backup: its files, and what they were taken of."""

    taken_at: str
    """ISO time with milliseconds, UTC."""
    facts: dict[str, Any]
    files: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class Repository:
    """Backups of one project."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def names(self) -> list[str]:
        """Names of the backups, oldest first."""
        found = [file.name for file in files_below(self.place / BACKUPS) if file.name.endswith(ENDING)]
        return sorted(name.removesuffix(ENDING) for name in found)

    def read(self, name: str | None = None) -> Backup:
        """A backup by its name; without one the newest. Raises BackupError."""
        names = self.names()
        if not names:
            raise BackupError(f"found no complete backup in {self.place}; `nightloom backup {self.place}` makes one")
        name = names[-1] if name is None else name
        if name not in names:
            raise BackupError(f"found no backup '{name}' in {self.place}; it has {', '.join(names)}")
        content = (self.place / BACKUPS / f"{name}{ENDING}").read_bytes()
        if not name.endswith(_short(content)):
            raise BackupError(f"backup {name} in {self.place} is damaged: its list of files is; restore another one")
        fields = json.loads(gzip.decompress(content))
        return Backup(fields["taken_at"], fields["facts"], tuple(Entry(**file) for file in fields["files"]))

    def write(self, backup: Backup) -> str:
        """Record a backup whose contents are all stored -> its name."""
        text = json.dumps(asdict(backup), separators=(",", ":")).encode()
        content = gzip.compress(text, mtime=0)
        time = re.sub(r"[-:.]|\+.*", "", backup.taken_at)
        name = f"{time}Z-{_short(content)}"
        with replacement(self.place / BACKUPS / f"{name}{ENDING}") as file:
            file.write(content)
        return name

    def stored(self) -> dict[str, int]:
        """SHA-256 -> bytes of every content that is stored."""
        return {file.name.rpartition("/")[2]: file.bytes for file in files_below(self.place / OBJECTS)}

    def store(self, file: Place, stored: dict[str, int]) -> tuple[str, int]:
        """Store a file's content, which is noted in `stored` -> its SHA-256, bytes. Raises FileChangedError."""
        try:
            with file.open("rb") as source:
                sha256, size = _copy(source)
            if stored.get(sha256) != size:
                with file.open("rb") as source, replacement(self._object(sha256)) as target:
                    if _copy(source, target) != (sha256, size):
                        raise FileChangedError(str(file))
        except FileNotFoundError:
            raise FileChangedError(str(file)) from None
        stored[sha256] = size
        return sha256, size

    def fetch(self, entry: Entry, target: IO[bytes] | None = None) -> None:
        """Copy a stored content, or only read it. Raises BackupError where it is not what was stored."""
        try:
            with self._object(entry.sha256).open("rb") as source:
                found = _copy(source, target)
        except FileNotFoundError:
            raise self._damage(entry, "is missing") from None
        if found != (entry.sha256, entry.bytes):
            raise self._damage(entry, f"has SHA-256 {found[0][:12]}... and {found[1]:,} bytes")

    def require_complete(self, files: Sequence[Entry]) -> None:
        """Raise BackupError for a content that is missing or has another length; reads none."""
        stored = self.stored()
        wrong = [file for file in files if stored.get(file.sha256) != file.bytes]
        if wrong:
            size = stored.get(wrong[0].sha256)
            problem = "is missing" if size is None else f"has {size:,} bytes, expected {wrong[0].bytes:,}"
            raise self._damage(wrong[0], problem, f"; {len(wrong):,} of {len(files):,} files are damaged")

    def prune(self, keep: int) -> tuple[int, int]:
        """Delete all backups but the newest, and contents that no backup has any more -> how many of each."""
        names = self.names()
        old = names[: max(0, len(names) - keep)]
        for name in old:
            (self.place / BACKUPS / f"{name}{ENDING}").unlink()
        needed = {file.sha256 for name in names[len(old) :] for file in self.read(name).files}
        unused = self.stored().keys() - needed
        for sha256 in unused:
            self._object(sha256).unlink()
        return len(old), len(unused)

    def _object(self, sha256: str) -> Place:
        return self.place / OBJECTS / sha256[:2] / sha256

    def _damage(self, entry: Entry, problem: str, more: str = "") -> BackupError:
        return BackupError(
            f"the backup in {self.place} is damaged: the content of {entry.part}/{entry.name} {problem} "
            f"(objects/{entry.sha256[:2]}/{entry.sha256[:12]}...){more}; nothing was restored. Restore another backup "
            "(--list shows them), or take a new one while the project is there"
        )


def _copy(source: IO[bytes], target: IO[bytes] | None = None) -> tuple[str, int]:
    """Copy a file, or only read it -> SHA-256 and bytes of its content."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        digest.update(block)
        size += len(block)
        if target is not None:
            target.write(block)
    return digest.hexdigest(), size


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
