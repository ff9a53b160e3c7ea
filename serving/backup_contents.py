"""What a project's backup holds, part by part, and what it leaves out. docs/backup.md has the reasons."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from nightloom.lake import Lake
from nightloom.local.airflow_setup import DATABASE
from nightloom.places import File, Place, files_below
from nightloom.settings import Settings
from nightloom.sql import marts
from spark_jobs import landing

CONFIG, LANDING = "nightloom.toml", "landing"
"""The parts that restore never replaces: a file of these that is there stays."""
MLFLOW, AIRFLOW = "mlflow.db", "airflow.db"
SQLITE = "sqlite:///"
PASSWORDS = "simple_auth_manager_passwords.json.generated"
LOG_ENDINGS = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database while it is open."""
NOT_COPIED = re.compile(r"(^|/)(lock|push\.lock|[^/]*\.(part|unfinished))$|(^|/)\.making-")
"""Locks, and what a process writes under a passing name."""
ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's database holds addresses of artefacts."""


def folders(settings: Settings) -> dict[str, Place]:
    """Part -> folder or address whose files are copied."""
    parts: dict[str, Place] = {
        "lake": settings.place("lake"),
        "mlflow": settings.place("mlflow_artifacts"),
        "reports": settings.place("home") / "reports",
        "access": settings.place("access"),
    }
    return parts | ({"store": settings.place("store")} if settings.store.embedded else {})


def databases(settings: Settings) -> dict[str, Path]:
    """Part -> SQLite file."""
    found = {AIRFLOW: settings.place("airflow") / DATABASE}
    if settings.tracking_uri.startswith(SQLITE):
        found[MLFLOW] = Path(settings.tracking_uri.removeprefix(SQLITE))
    return found


def secrets(settings: Settings) -> dict[str, Path]:
    """Part -> file that Airflow needs to read its database: its keys and passwords."""
    home = settings.place("airflow")
    return {"airflow.cfg": home / "airflow.cfg", "airflow-passwords": home / PASSWORDS}


def not_covered(settings: Settings) -> list[str]:
    """What has to be backed up where it is."""
    lines = []
    if not settings.tracking_uri.startswith(SQLITE):
        server = settings.tracking_uri.rpartition("@")[2]  # a password stands before it
        lines.append(f"MLflow's database behind {server}; back it up with that server's own tool")
    if not settings.store.embedded:
        lines.append(
            f"the lists in the {settings.store.kind} store, which the next publish writes again, and the items that "
            "are blocked or out of stock: keep what `nightloom block --json` and `nightloom stock list --json` print"
        )
    if not (airflow := databases(settings)[AIRFLOW]).exists():
        lines.append(f"Airflow's database, which is not {airflow}; if it is on a server, use that server's own tool")
    keepers = {"kafka": "Kafka", "delta": "its Delta table", "jdbc": "its database"}
    lines += [
        f"source '{source.name}': {keepers[source.format]} keeps what was not read"
        for source in settings.sources
        if source.format in keepers
    ]
    return lines


def table_versions(settings: Settings) -> dict[str, int]:
    """Table -> newest version."""
    lake = Lake(settings.place("lake"))
    return {each.full_name: lake.version(each) for each in marts.all_tables(settings) if lake.exists(each)}


def listed(settings: Settings) -> dict[tuple[str, str], tuple[Place, File]]:
    """(part, name) -> the place and state of every file that is copied as it is."""
    found: dict[tuple[str, str], tuple[Place, File]] = {}
    for part, place in folders(settings).items():
        for file in files_below(place):
            if not NOT_COPIED.search(file.name):
                found[part, file.name] = place / file.name, file
    single = {CONFIG: settings.file, **secrets(settings)}
    for part, path in single.items():
        if path.exists():
            found[part, ""] = path, _state(path)
    for name, path in unread_landing_files(settings):
        found[LANDING, name] = path, _state(path)
    return found


def database_states(settings: Settings) -> dict[str, File]:
    """File -> state of MLflow's database. Airflow's changes with every heartbeat and is left out."""
    path = databases(settings).get(MLFLOW)
    files = [path, *(path.with_name(path.name + each) for each in LOG_ENDINGS)] if path else []
    return {str(file): _state(file) for file in files if file.exists()}


def unread_landing_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Name in the listing, and path, of each landing file that bronze does not have yet. Others are in bronze.

    Files in object storage stay where they are.
    """
    for source in settings.sources:
        if not source.is_of_files or source.path is None or not (settings.root / source.path).is_dir():
            continue
        listing = settings.place("lake") / "_checkpoints" / source.name / "files"
        for name in landing.unread_files(source, settings.root, listing):
            file = landing.find_file(settings.root, name)
            if isinstance(file, Path):
                yield name, file


@contextmanager
def database_copy(path: Path) -> Iterator[Path]:
    """A copy of a SQLite database as of one moment, while others write to it."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy.db")
        source = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as opened, closing(sqlite3.connect(copy)) as target:
            opened.backup(target)
        yield copy


def move_artifacts(database: Path, old: str, new: str) -> None:
    """Let MLflow's database look for its artefacts below another address."""
    with closing(sqlite3.connect(database)) as opened, opened:
        for table, column in ARTIFACT_COLUMNS:
            opened.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old), old),
            )


def address_of(place: Place) -> str:
    """A place as MLflow writes it."""
    return place.as_uri() if isinstance(place, Path) else str(place)


def _state(path: Path) -> File:
    status = path.stat()
    return File(path.name, status.st_mtime, status.st_size)
