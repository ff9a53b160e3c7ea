"""One holder at a time of a lock in a place, whatever is killed.

In a folder the kernel keeps the lock, and it ends with its process. In object storage the lock is an object that its
holder writes again every few seconds: one that nobody writes any more was left by a killed holder and is taken over.
Both steps are conditional writes, which only one of two writers can win. No clocks are compared.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nightloom.places import Place

if TYPE_CHECKING:
    from upath import UPath

NAME = "lock"
LEASE_SECONDS = 15.0
"""A killed holder keeps the lock for this long; a live one writes it again five times in that time."""


class HeldError(Exception):
    """Another process holds the lock; the text says which, as far as it is known."""


class LostError(Exception):
    """The lock was taken over: this process was stopped, or cut off, for longer than LEASE_SECONDS."""


@contextmanager
def exclusive_lock(place: Place) -> Iterator[None]:
    """Hold the lock of a place. Raises HeldError, and LostError at the end of a block that lost the lock meanwhile."""
    if isinstance(place, Path):
        with _file_lock(place):
            yield
    else:
        lease = Lease(place / NAME).take()
        try:
            yield
        finally:
            held = lease.release()
        if not held:
            raise LostError(str(place))


@contextmanager
def _file_lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(str(folder)) from None
        yield


class Lease:
    """A lock in object storage."""

    def __init__(self, place: UPath) -> None:
        self._place, self._number, self._tag = place, 0, ""
        self._name = f"process {os.getpid()} on {socket.gethostname()}, {secrets.token_hex(8)}"
        self._renewed_at, self._lost = 0.0, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self) -> Lease:
        """Begin to hold the lock. Raises HeldError."""
        self._tag, self._renewed_at = self._take(), time.monotonic()
        self._thread.start()
        return self

    def release(self) -> bool:
        """End it -> whether it was held to the end."""
        from nightloom.places import objects

        self._ended.set()
        self._thread.join()
        if held := self.held:
            objects.delete(self._place)
        return held

    @property
    def held(self) -> bool:
        """Whether nobody else can have taken the lock."""
        return not self._lost and time.monotonic() - self._renewed_at < LEASE_SECONDS

    def _take(self) -> str:
        from nightloom.places import objects

        deadline, seen = time.monotonic() + LEASE_SECONDS, None
        while True:
            try:
                return objects.create(self._place, self._content())
            except FileExistsError:
                found = objects.read(self._place)
            if found is None:
                continue
            content, tag = found
            if seen is not None and tag != seen:
                raise HeldError(content.decode().rpartition(",")[0])
            seen = tag
            if time.monotonic() > deadline:  # it was not written again: its holder is gone
                if (taken := objects.replace(self._place, self._content(), tag)) is not None:
                    return taken
                raise HeldError("just begun")
            time.sleep(LEASE_SECONDS / 15)

    def _keep(self) -> None:
        from obstore.exceptions import BaseError

        from nightloom.places import objects

        while not self._ended.wait(LEASE_SECONDS / 5):
            asked_at = time.monotonic()
            try:
                tag = objects.replace(self._place, self._content(), self._tag)
            except (BaseError, OSError):  # no answer: `held` ends by itself when this lasts
                continue
            if tag is None and (tag := self._own_tag()) is None:
                self._lost = True
                return
            self._tag, self._renewed_at = tag, asked_at

    def _own_tag(self) -> str | None:
        """The lock's tag where this holder wrote it last: an answer may be lost on its way."""
        from nightloom.places import objects

        found = objects.read(self._place)
        return found[1] if found and found[0].decode().startswith(self._name) else None

    def _content(self) -> bytes:
        """Another content each time, or the tag would stay the same."""
        self._number += 1
        return f"{self._name} {self._number}".encode()
