"""SCRATCH/serving/events.sqlite: events that the API has taken, until they are in their source's landing folder.

An event is on this machine's disk before the API answers 202. An export writes events that are not in the landing
folder yet as complete files: every few seconds by the API, and by the night before it reads the folder. Each event is
in one file, whatever is killed: a file's name and its range of numbers are stored before the file is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from nightloom.errors import NightloomError, printable
from nightloom.places import Place, place_at
from nightloom.settings import Settings
from nightloom.settings.sources import Source
from nightloom.values import now

KNOWN_SECONDS = 3600
"""An event that comes again within this time is not stored again. Later, silver.interactions still counts it once."""
LONGEST_SECONDS = 7 * 86_400
"""An exported event stays no longer, whatever was published: so much of the time without a night moves lists."""
EVENTS_PER_FILE = 50_000
BUSY_SECONDS = 10.0
"""Waiting time for another process's transaction."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, source TEXT NOT NULL, at REAL NOT NULL,
    record TEXT NOT NULL, user TEXT
);
CREATE TABLE IF NOT EXISTS files (
    source TEXT PRIMARY KEY, name TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, done INTEGER NOT NULL
);
"""
USERS = "CREATE INDEX IF NOT EXISTS events_of_user ON events (user, number) WHERE user IS NOT NULL"
"""`files` has the newest landing file of each source: all events up to `last` are in it or in an earlier one."""


class JournalError(NightloomError):
    """The journal cannot be read or written."""


class Event(NamedTuple):
    """An event for a source."""

    source: str
    id: str
    record: str
    """A JSON object in one line."""
    user: str | None = None
    """Whose event it is; None where only the night can tell."""


class Received(NamedTuple):
    """An event of one user, as it was received."""

    source: str
    at: float
    """When it was received, in Unix seconds."""
    record: str


class NewFile(NamedTuple):
    """A landing file, and the events that belong to it."""

    name: str
    first: int
    last: int


def journal_file(settings: Settings) -> Path:
    """The journal of this machine."""
    return settings.place("scratch") / "serving" / "events.sqlite"


def api_sources(settings: Settings) -> list[Source]:
    """The sources of files that the API feeds."""
    return [source for source in settings.sources if source.api and source.path is not None]


def export_journal(settings: Settings) -> int:
    """Write all events of this machine's journal to their landing folders, which are created -> number of events.

    Raises OSError and JournalError.
    """
    for source in api_sources(settings):
        place = landing_place(settings, source)
        if isinstance(place, Path):
            place.mkdir(parents=True, exist_ok=True)
    if not journal_file(settings).exists():
        return 0
    with closing(Journal(journal_file(settings))) as journal:
        return journal.export({source.name: landing_place(settings, source) for source in api_sources(settings)})


def landing_place(settings: Settings, source: Source) -> Place:
    """A source's landing folder or address."""
    return place_at(str(source.path), settings.root)


class Journal:
    """A connection to the journal, which is created. For one thread.

    With `reading` it is there already, and nobody waits for another process's transaction.
    """

    def __init__(self, file: Path, reading: bool = False) -> None:
        self._file, self._lock_file = file, file.with_suffix(".lock")
        if reading:
            with self._errors():
                place = f"{file.absolute().as_uri()}?mode=rw"
                self._database = sqlite3.connect(place, uri=True, timeout=0, isolation_level=None)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        # Autocommit: transactions are begun by hand, so that each is known to hold the write lock from its start.
        with self._errors():
            self._database = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            self._database.executescript(SCHEMA)
            with self._transaction():
                self._add_users()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def add(self, events: Iterable[Event]) -> None:
        """Store events; when this returns they survive any kill and a loss of power. Raises JournalError.

        An event whose id is known is left out.
        """
        moment = time.time()
        rows = [(_digest(event), event.source, moment, event.record, event.user) for event in events]
        with self._errors(), self._transaction():
            self._database.executemany(
                "INSERT OR IGNORE INTO events (id, source, at, record, user) VALUES (?, ?, ?, ?, ?)", rows
            )

    def numbers(self) -> tuple[int, int]:
        """The first and the last number of an event; (0, 0) without any. Raises JournalError."""
        with self._errors():
            found = self._database.execute("SELECT (SELECT min(number) FROM events), (SELECT max(number) FROM events)")
            first, last = found.fetchone()
        return first or 0, last or 0

    def users_since(self, number: int, most: int) -> list[tuple[int, str | None]]:
        """(number, user) of the first `most` events after a number. Raises JournalError."""
        with self._errors():
            return self._database.execute(
                "SELECT number, user FROM events WHERE number > ? ORDER BY number LIMIT ?", (number, most)
            ).fetchall()

    def of_user(self, user: str) -> list[Received]:
        """The events of a user, as they were received. Raises JournalError."""
        with self._errors():
            found = self._database.execute(
                "SELECT source, at, record FROM events WHERE user = ? ORDER BY number", (user,)
            )
            return [Received(*row) for row in found]

    def export(self, landing: dict[str, Place], *, wait: bool = True, needed_since: float = 0.0) -> int:
        """Write the events of each source that are in no landing file -> number of events.

        `landing` has the folder or address of each source. Events that were received from `needed_since` (Unix seconds)
        on stay in the journal, for LONGEST_SECONDS at most. One process exports at a time; without `wait`, 0 while
        another one does. Raises OSError and JournalError.
        """
        with self._errors(), self._lock_file.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            total = sum(self._export_source(source, place) for source, place in landing.items())
            self._forget_old(needed_since)
            return total

    def _add_users(self) -> None:
        """A journal of an earlier version has no column for users."""
        if "user" not in [row[1] for row in self._database.execute("PRAGMA table_info(events)")]:
            self._database.execute("ALTER TABLE events ADD COLUMN user TEXT")
        self._database.execute(USERS)

    def _export_source(self, source: str, place: Place) -> int:
        total = 0
        while (new := self._next_file(source)) is not None:
            rows = self._database.execute(
                "SELECT record FROM events WHERE source = ? AND number BETWEEN ? AND ? ORDER BY number",
                (source, new.first, new.last),
            )
            records = [record for (record,) in rows]
            # The file may be there: a process that was killed after it wrote the file did not get to note it.
            if not (place / new.name).exists():
                _write_file(place / new.name, "".join(f"{record}\n" for record in records).encode())
            self._database.execute("UPDATE files SET done = 1 WHERE source = ?", (source,))
            total += len(records)
        return total

    def _next_file(self, source: str) -> NewFile | None:
        """The file that a killed process began, or a new one; None where all events are in files."""
        with self._transaction():
            found = self._database.execute("SELECT * FROM files WHERE source = ?", (source,)).fetchone()
            if found is not None and not found[4]:
                return NewFile(*found[1:4])
            first = found[3] + 1 if found else 0
            # All numbers up to the largest are stored: they are given in the transaction that commits them.
            (last,) = self._database.execute(
                "SELECT max(number) FROM (SELECT number FROM events WHERE source = ? AND number >= ? "
                "ORDER BY number LIMIT ?)", (source, first, EVENTS_PER_FILE),
            ).fetchone()  # fmt: skip
            if last is None:
                return None
            new = NewFile(f"api-{now():%Y-%m-%d/%H%M%S}-{secrets.token_hex(6)}.jsonl", first, last)
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, 0)", (source, *new))
            return new

    def _forget_old(self, needed_since: float) -> None:
        """Delete what is in files and no longer needed: neither to know an event again, nor for its user's list."""
        moment = time.time()
        before = min(moment - KNOWN_SECONDS, max(needed_since, moment - LONGEST_SECONDS))
        with self._transaction():
            self._database.execute(
                "DELETE FROM events WHERE at < ? AND number <= "
                "(SELECT last FROM files WHERE files.source = events.source AND done)",
                (before,),
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as error:
            words = f"{printable(str(error))}; mend that and run it again, no event is lost"
            raise JournalError(f"the journal of events {self._file}: {words}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()


def _digest(event: Event) -> bytes:
    named = f"{event.source}\0{event.id}".encode("utf8", "surrogatepass")
    return hashlib.blake2b(named, digest_size=16).digest()


def _write_file(place: Place, content: bytes) -> None:
    """A file that appears whole under its name, and survives a loss of power. Its name until then is a hidden one."""
    if not isinstance(place, Path):
        from nightloom.places import objects

        objects.write(place, content)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    hidden = place.with_name(f".{place.name}")
    with hidden.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    hidden.replace(place)
    for folder in (place.parent, place.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
