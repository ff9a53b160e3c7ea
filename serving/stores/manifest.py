"""A finished version's files, by size and checksum: VERSION/files.json. A reader checks them when it opens a version.

A read beyond the end of a mapped file ends the process (SIGBUS), and damaged pages can: so a mapped file's size is
checked before each read, too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from zlib import crc32

from nightloom.places import Place
from serving.stores.base import DamagedError

MANIFEST = "files.json"
CHECKED_BYTES = 1 << 28
"""A larger version is checked by the sizes of its files alone: a checksum takes a second for each GB or two."""
CHUNK = 1 << 20


def write_manifest(folder: Path) -> None:
    """Record the files of a folder."""
    files = [file for file in sorted(folder.iterdir()) if file.name != MANIFEST]
    small = sum(file.stat().st_size for file in files) <= CHECKED_BYTES
    found = {file.name: (file.stat().st_size, _checksum(file) if small else None) for file in files}
    with (folder / MANIFEST).open("w", encoding="utf8") as handle:
        json.dump(found, handle)
        handle.flush()
        os.fsync(handle.fileno())


def check_manifest(folder: Path) -> None:
    """Raises DamagedError where files differ from the manifest. Versions from before there were manifests have none."""
    try:
        recorded = json.loads((folder / MANIFEST).read_text(encoding="utf8"))
        wrong = [name for name, (size, checksum) in recorded.items() if _differs(folder / name, size, checksum)]
    except FileNotFoundError as error:
        if Path(error.filename).name == MANIFEST and folder.exists():
            return
        raise DamagedError(f"{folder}: no version to read ({error})") from None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{folder}: cannot be read ({error}); publish the night again") from None
    if wrong:
        raise damaged(folder / wrong[0], "its size or checksum differs")


def damaged(file: Place, why: object) -> DamagedError:
    """The error of a file whose content is not what was published."""
    return DamagedError(f"{file} is not as it was published ({why}); publish the night again")


def cut_short(file: Path) -> DamagedError:
    """The error of a file that is shorter than it was, or than its own head says."""
    return damaged(file, "it was cut short")


class CheckedFile:
    """An open file, whose size and time are compared before each read."""

    def __init__(self, path: Path) -> None:
        self.path, self._descriptor = path, -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DamagedError(f"{path}: no version to read ({error})") from None
        found = os.fstat(self._descriptor)
        self.bytes, self._changed_at, self.identity = found.st_size, found.st_mtime_ns, (found.st_dev, found.st_ino)

    def check(self) -> None:
        """Raises DamagedError where the file was written since; the next open compares its content."""
        found = os.fstat(self._descriptor)
        if (found.st_size, found.st_mtime_ns) != (self.bytes, self._changed_at):
            raise damaged(self.path, "it was written again")

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _differs(file: Path, size: int, checksum: int | None) -> bool:
    return file.stat().st_size != size or (checksum is not None and _checksum(file) != checksum)


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            checksum = crc32(chunk, checksum)
    return checksum
