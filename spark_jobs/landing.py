"""A source's landing folder -> its listing: the complete new files, in a small Delta table.

bronze_files.py reads that table, each commit once, and not the landing folder itself. Spark's own file source would
read a file that is still being written, would never read it again, and would know files by their absolute path.
"""

from __future__ import annotations

import math
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from nightloom.errors import SettingsError
from nightloom.lake import now
from nightloom.places import Place, files_below, place_at, scheme_of
from nightloom.settings import Source
from spark_jobs.readers.text import MARK, MARKING

HIDDEN = (".", "_")
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".inprogress", ".swp", "~")
LISTING_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("modified", pa.int64()),
        ("length", pa.int64()),
        ("again", pa.bool_()),
        ("number", pa.int64()),
    ]
)
MARKED_BYTE = re.compile(f"{MARK}([0-9A-F]{{2}})")
BYTES_PER_COMMIT = 4 << 30  # the most that a killed run reads again

Row = dict[str, Any]


class FileState(NamedTuple):
    """A file that has changed has another state."""

    modified: int
    """Microseconds since 1970."""
    length: int
    """Bytes."""


def landing_place(source: Source, root: Path) -> Place:
    """The landing folder or address of a source. Raises SettingsError for a folder that does not exist."""
    assert source.path is not None, "a source of files has a path"
    place = place_at(source.path, root)
    if isinstance(place, Path) and not place.is_dir():
        raise SettingsError(f"source '{source.name}': there is no folder {place}; create it, or mend its `path`")
    return place


def update_listing(source: Source, root: Path, listing: Place) -> list[str]:
    """Add the new files to a listing, which is created at its first use -> files that are still being written.

    The next run looks at those again.
    """
    if not DeltaTable.is_deltatable(str(listing)):
        write_deltalake(str(listing), LISTING_SCHEMA.empty_table())
    opened = DeltaTable(str(listing))
    known = _states(entries_of(opened))
    new, unsettled = _settle(source, root, known)
    for batch in _split_into_commits(new, known):
        _commit(opened, batch)
    return unsettled


def unread_files(source: Source, root: Path, listing: Place) -> list[str]:
    """Names of the files that are complete or still being written, and not listed in their present state."""
    listed = listed_files(listing) if DeltaTable.is_deltatable(str(listing)) else []
    return sorted(_find_new(source, root, _states(listed)))


def present_files(source: Source, root: Path) -> dict[str, FileState]:
    """Name -> state of the files in a landing folder, those that are still being written, too.

    A name is relative to the project for a file inside the project, and an address in object storage.
    """
    return _find_new(source, root, {})


def listed_files(listing: Place) -> list[Row]:
    """Every entry of a listing, oldest first: file, modified, length, again, number (of the commit)."""
    return entries_of(DeltaTable(str(listing)))


def entries_of(listing: DeltaTable) -> list[Row]:
    """The same of a listing that is open."""
    found = QueryBuilder().register("t", listing).execute("SELECT * FROM t")
    return sorted(pa.table(found.read_all()).to_pylist(), key=itemgetter("number", "file"))


def _states(entries: list[Row]) -> dict[str, FileState]:
    """The last listed state of each file."""
    return {row["file"]: FileState(row["modified"], row["length"]) for row in entries}


def trim_listing(root: Path, listing: Place, oldest: datetime) -> int:
    """Forget the files that are gone and were older than a moment, and all states of a file but the last -> how many.

    The rows that stay keep the number of their commit, so nothing is read again. Two files of one name and state are
    one file: who removes a file and delivers it again after this has it read again.
    """
    entries = listed_files(listing)
    last = {row["file"]: row for row in entries}.values()
    moment = oldest.timestamp() * 1e6
    kept = [row for row in last if row["modified"] >= moment or place_at(row["file"], root).exists()]
    if len(kept) < len(entries):
        rows = pa.Table.from_pylist(kept, schema=LISTING_SCHEMA)
        write_deltalake(str(listing), rows, mode="overwrite")
    hours = math.ceil((now() - oldest).total_seconds() / 3600)
    DeltaTable(str(listing)).vacuum(hours, dry_run=False, enforce_retention_duration=False)
    return len(entries) - len(kept)


def _settle(source: Source, root: Path, known: Mapping[str, FileState]) -> tuple[dict[str, FileState], list[str]]:
    """The new files that have not changed for `settle_seconds`, and those that still change after one such wait."""
    new = _find_new(source, root, known)
    if scheme_of(source.path or ""):
        return new, []  # an object appears when it is complete
    age = {name: max(0.0, time.time() - state.modified / 1e6) for name, state in new.items()}
    young = [name for name in new if age[name] < source.settle_seconds]
    if not young:
        return new, []
    time.sleep(source.settle_seconds - min(age[name] for name in young))
    later = _find_new(source, root, known)
    still = {name: state for name, state in new.items() if later.get(name) == state}
    return still, sorted(later.keys() - still.keys())


def _find_new(source: Source, root: Path, known: Mapping[str, FileState]) -> dict[str, FileState]:
    """Name -> state of the files that were not listed in their present state.

    A name is relative to the project for a file inside the project, and an address in object storage.
    """
    place = landing_place(source, root)
    states = _folder_states(place, root) if isinstance(place, Path) else _object_states(place)
    return {name: state for name, state in states if known.get(name) != state}


def _object_states(place: Place) -> Iterator[tuple[str, FileState]]:
    for name, modified, size in sorted(files_below(place)):
        if not size:
            continue  # what some programs leave for a folder
        *folders, last = name.split("/")
        if not any(part.startswith(HIDDEN) for part in (*folders, last)) and not last.lower().endswith(UNFINISHED):
            yield f"{place}/{name}", FileState(int(modified * 1e6), size)


def _folder_states(folder: Path, root: Path) -> Iterator[tuple[str, FileState]]:
    for file in visible_files(folder):
        name = _name_as_text(file.relative_to(root) if file.is_relative_to(root) else file)
        try:
            status = file.stat()
        except FileNotFoundError:
            continue  # renamed meanwhile: the next run finds it under its new name
        if stat.S_ISREG(status.st_mode):  # to read a pipe could wait for ever
            yield name, FileState(status.st_mtime_ns // 1000, status.st_size)


def _name_as_text(file: Path) -> str:
    """A file's name; bytes of it that are not UTF-8 are marked, as they are in a file's content."""
    return os.fsencode(file).decode("utf-8", MARKING)


def find_file(root: Path, name: str) -> Place:
    """The file that a listing names."""
    file = place_at(name, root)
    if MARK in name and not file.exists():
        return Path(root, MARKED_BYTE.sub(lambda byte: os.fsdecode(bytes.fromhex(byte[1])), name))
    return file


def visible_files(place: Path) -> Iterator[Path]:
    """Every file below a folder, except unfinished and hidden files and the content of hidden folders."""
    for path, folders, names in os.walk(place, followlinks=True, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in sorted(names):
            if not name.startswith(HIDDEN) and not name.lower().endswith(UNFINISHED):
                yield Path(path, name)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder was renamed meanwhile
        raise SettingsError(f"{error.filename} cannot be listed ({error.strerror}); let the night's user read it")


def _split_into_commits(new: Mapping[str, FileState], known: Mapping[str, FileState]) -> Iterator[list[Row]]:
    """The new files as the rows of one or more commits."""
    batch: list[Row] = []
    size = 0
    for name, state in new.items():
        if batch and size + state.length > BYTES_PER_COMMIT:
            yield batch
            batch, size = [], 0
        batch.append({"file": name, **state._asdict(), "again": name in known})
        size += state.length
    if batch:
        yield batch


def _commit(listing: DeltaTable, batch: list[Row]) -> None:
    """Add rows in one commit: all of them or none, whatever is killed."""
    number = listing.version() + 1
    numbered = [row | {"number": number} for row in batch]
    write_deltalake(listing, pa.Table.from_pylist(numbered, schema=LISTING_SCHEMA), mode="append")
