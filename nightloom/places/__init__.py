"""A place: a folder, or an address in object storage such as s3://BUCKET/FOLDER.

A folder is a pathlib.Path. An address is a UPath, which has the methods of a Path that object storage can have. What
reaches object storage is in objects.py.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

from nightloom.errors import SettingsError

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = "Path | UPath"
SCHEMES = ("s3", "gs", "abfss")
"""How addresses begin: S3 and what speaks its protocol, Google Cloud Storage, Azure Data Lake Storage."""


class File(NamedTuple):
    """A file, or an object in object storage."""

    name: str
    """Its path below the place that was listed."""
    modified: float
    """Seconds since 1970."""
    bytes: int


def scheme_of(text: str) -> str | None:
    """`s3` of s3://BUCKET/FOLDER; None of a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return found[1] if found else None


def place_at(text: str | Path, root: Path = Path()) -> Place:
    """The place that a text names; a path is relative to `root`."""
    return _objects().address(str(text)) if scheme_of(str(text)) else root / text


def parallel_file_system(place: Place) -> Any:
    """The file system of an address for DuckDB, whose threads read through one handle."""
    return _objects().parallel_file_system(place)


def _objects() -> Any:
    """objects.py, whose imports take a third of a second: a project in folders does not wait for them."""
    return import_module("nightloom.places.objects")


def folder_of(place: Place) -> Path:
    """A place that has to be a folder. Raises SettingsError for an address."""
    if isinstance(place, Path):
        return place
    raise SettingsError(f"{place} is in object storage; expected a folder on this machine's disks")


def storage_variables() -> dict[str, str]:
    """The environment's variables of object storage, for a process on another machine. They hold secrets."""
    return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))}


def access_problem(place: Place) -> str | None:
    """Why a place in object storage cannot be read, and what to do."""
    return None if isinstance(place, Path) else _objects().access_problem(place)


def files_below(place: Place) -> Iterator[File]:
    """Every file below a place, in no order. A place that does not exist has none."""
    if not isinstance(place, Path):
        yield from _objects().files_below(place)
        return
    for folder, _, names in os.walk(place):
        for name in names:
            file = Path(folder, name)
            status = file.stat()
            yield File(str(file.relative_to(place)), status.st_mtime, status.st_size)


@contextmanager
def replacement(place: Place) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place's name after the block; its folder is created.

    A reader sees the old content or the new one, also after a kill.
    """
    if not isinstance(place, Path):
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            _upload(file, place)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f"{place.name}.unfinished")
    with unfinished.open("wb") as file:
        yield file
    unfinished.replace(place)


def write_text(place: Place, text: str) -> None:
    """Replace a file by a text in UTF-8, as replacement() does."""
    with replacement(place) as file:
        file.write(text.encode())


def _upload(file: IO[bytes], place: Place) -> None:
    with place.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)


def remove_tree(place: Place) -> None:
    """Remove a folder with everything in it."""
    if isinstance(place, Path):
        shutil.rmtree(place)
    else:
        _objects().delete_below(place)


@contextmanager
def local_copy(place: Place) -> Iterator[Path]:
    """The files of a place in a folder: the place itself, or a copy of it for the time of the block."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, place.name)  # MLflow keeps the name of the folder
        download_folder(place, folder)
        yield folder


@contextmanager
def filled_folder(place: Place) -> Iterator[Path]:
    """A folder to write files into, which are in the place after the block."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)
        upload_folder(Path(scratch), place)


def download_folder(place: Place, folder: Path) -> None:
    """Write the files of a place into a folder."""
    for file in files_below(place):
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with (place / file.name).open("rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)


def upload_folder(folder: Path, place: Place) -> None:
    """Write the files of a folder into a place."""
    for file in files_below(folder):
        with (folder / file.name).open("rb") as source:
            _upload(source, place / file.name)
