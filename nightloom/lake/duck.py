"""DuckDB for a night's work on more rows than memory holds."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from nightloom.places import parallel_file_system, place_at, scheme_of

MEMORY = "1500MB"
"""What a stage's DuckDB takes at most; beyond it, it spills. By default it would take four fifths of the machine."""


def read_parquet(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    *,
    union_by_name: bool = False,
    hive_partitioning: bool = False,
    file_row_number: bool = False,
) -> duckdb.DuckDBPyRelation:
    """Rows of files by their exact names; DuckDB itself takes a name for a pattern with `*`, `?` and `[`."""
    if files and (scheme := scheme_of(files[0])) and not db.filesystem_is_registered(scheme):
        db.register_filesystem(parallel_file_system(place_at(files[0])))
    exact = [re.sub(r"[*?[]", r"[\g<0>]", file) for file in files]
    return db.read_parquet(
        exact,
        union_by_name=union_by_name,
        hive_partitioning=hive_partitioning,
        file_row_number=file_row_number,
    )


@contextmanager
def spilling_duckdb(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB within MEMORY that spills into a folder of its own in `scratch` and knows one time zone, UTC."""
    with _spill_folder(scratch) as folder, duckdb.connect(config=_config(folder)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _config(folder: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {"temp_directory": str(folder), "memory_limit": MEMORY}


@contextmanager
def _spill_folder(scratch: Path) -> Iterator[Path]:
    """A new folder in `scratch`/spill, removed at the end; folders that killed processes left are removed first.

    DuckDB names its files by block numbers, so two databases in one folder overwrite each other's rows.
    """
    folders = scratch / "spill"
    folders.mkdir(parents=True, exist_ok=True)
    with _locked(folders):
        for left in folders.iterdir():
            # A lock ends with its process. A folder that is gone was removed by its own process meanwhile.
            with suppress(BlockingIOError, FileNotFoundError), _locked(left, fcntl.LOCK_NB):
                shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folders))
        held = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(held)


@contextmanager
def _locked(folder: Path, flags: int = 0) -> Iterator[None]:
    held = _lock(folder, flags)
    try:
        yield
    finally:
        os.close(held)


def _lock(folder: Path, flags: int = 0) -> int:
    """Lock a folder; its descriptor, which unlocks it when it is closed. With LOCK_NB raises BlockingIOError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
