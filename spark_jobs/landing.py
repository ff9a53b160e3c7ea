"""A source's landing folder -> its listing: which files are whole and were not listed yet, in a small Delta table.

That table is what bronze.py's stream reads, each commit once. Not the landing folder itself: Spark's file source takes
a file that is still being written, never looks at it again, and knows files by where the project lay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from nightloom.errors import SettingsError
from nightloom.settings import Source

HIDDEN = (".", "_")
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".inprogress", ".swp", "~")
LISTED = pa.schema(
    [
        ("file", pa.string()),
        ("modified", pa.int64()),
        ("length", pa.int64()),
        ("again", pa.bool_()),
        ("number", pa.int64()),
    ]
)
BYTES_AT_ONCE = 4 << 30  # of one listing, so of one commit: what a killed run does again at most

Row = dict[str, Any]


class State(NamedTuple):
    """What tells that a file has changed."""

    modified: int
    """Microseconds since 1970."""
    length: int
    """Bytes."""


def folder(source: Source, root: Path) -> Path:
    """The landing folder. Raises SettingsError when it is not there."""
    assert source.path is not None, "a source of files has a path"
    place = root / source.path
    if not place.is_dir():
        raise SettingsError(f"source '{source.name}': there is no folder {place}; make it, or mend its `path`")
    return place


def note(source: Source, root: Path, listing: Path) -> list[str]:
    """Add what is new to a listing, made at its first use -> files left for the next run: they are still written."""
    if not DeltaTable.is_deltatable(str(listing)):
        _add(listing, [])
    known = {row["file"]: State(row["modified"], row["length"]) for row in rows(listing)}
    new, unsettled = _settled(source, root, known)
    for portion in _portions(new, known):
        _add(listing, portion)
    return unsettled


def rows(listing: Path) -> list[Row]:
    """Everything that was listed, oldest first: file, modified, length, again, number (of the commit)."""
    found = QueryBuilder().register("t", DeltaTable(str(listing))).execute("SELECT * FROM t ORDER BY number, file")
    return list(pa.table(found.read_all()).to_pylist())


def again(listing: Path) -> list[str]:
    """The files that were listed more than once."""
    return sorted({row["file"] for row in rows(listing) if row["again"]})


def _settled(source: Source, root: Path, known: Mapping[str, State]) -> tuple[dict[str, State], list[str]]:
    """The new files that stand still for `settle_seconds`, and those that do not even after a wait of that long."""
    new = _new(source, root, known)
    age = {name: max(0.0, time.time() - state.modified / 1e6) for name, state in new.items()}
    young = [name for name in new if age[name] < source.settle_seconds]
    if not young:
        return new, []
    time.sleep(source.settle_seconds - min(age[name] for name in young))
    later = _new(source, root, known)
    still = {name: state for name, state in new.items() if later.get(name) == state}
    return still, sorted(later.keys() - still.keys())


def _new(source: Source, root: Path, known: Mapping[str, State]) -> dict[str, State]:
    """Files that are not taken in the state they have now, by name: relative to the project where they lie in it."""
    found = {}
    for file in _files(folder(source, root)):
        name = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
        try:
            status = file.stat()
        except FileNotFoundError:
            continue  # renamed since it was listed: it is there under its new name next time
        state = State(status.st_mtime_ns // 1000, status.st_size)
        if known.get(name) != state:
            found[name] = state
    return found


def _files(place: Path) -> Iterator[Path]:
    """Every file below a folder whose name is not an unfinished or hidden one's, nor any folder's on the way to it."""
    for path, folders, names in os.walk(place, followlinks=True, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in sorted(names):
            if not name.startswith(HIDDEN) and not name.lower().endswith(UNFINISHED):
                yield Path(path, name)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # that one was renamed since it was listed
        raise SettingsError(f"{error.filename} cannot be listed ({error.strerror}); let the night's user read it")


def _portions(new: Mapping[str, State], known: Mapping[str, State]) -> Iterator[list[Row]]:
    """The new files as one or more commits' rows."""
    portion: list[Row] = []
    size = 0
    for name, state in new.items():
        if portion and size + state.length > BYTES_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append({"file": name, **state._asdict(), "again": name in known})
        size += state.length
    if portion:
        yield portion


def _add(listing: Path, portion: list[Row]) -> None:
    """One commit, so all of the rows or none, whatever dies."""
    number = DeltaTable(str(listing)).version() + 1 if DeltaTable.is_deltatable(str(listing)) else 0
    numbered = [row | {"number": number} for row in portion]
    write_deltalake(str(listing), pa.Table.from_pylist(numbered, schema=LISTED), mode="append")
