"""A lock that ends by itself, where a server has no sessions that end with their process: Redis, Cassandra.

A killed push holds it for LOCK_SECONDS; a live one renews it five times in that time. A push that was stopped for
longer may find another one at work when it goes on. It changes nothing then: each write of a note compares the lock's
token in the same step, and rows are written only while the last renewal is not too old.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nightloom.errors import StoreError
from nightloom.values import now
from serving.stores.pushes import concurrent_push
from serving.stores.server import ServerStore

LOCK_SECONDS = 5.0


class LeaseStore(ServerStore):
    """A store on a server whose lock is a token that expires."""

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        super().__init__(place, project, reading)
        self._token, self._renewed_at = "", -LOCK_SECONDS
        """What this store's lock holds, and when that was last certain; no token while it has no lock."""

    @abstractmethod
    def _acquire_lock(self, token: str) -> str | None:
        """Write the token where there is none -> None, or the token of another push."""

    @abstractmethod
    def _renew_lock(self, token: str) -> bool:
        """Let the lock last LOCK_SECONDS from now -> whether it still has this token."""

    @abstractmethod
    def _release_lock(self, token: str) -> None:
        """Delete the lock if it has this token."""

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        token = f"{socket.gethostname()} process {os.getpid()} since {now():%H:%M:%S} UTC, {secrets.token_hex(8)}"
        self._renewed_at = time.monotonic()
        if (other := self._acquire_lock(token)) is not None:
            raise concurrent_push(self.location, other.rsplit(",", 1)[0])
        self._token, ended = token, threading.Event()
        renewal = threading.Thread(target=self._keep_lock, args=(token, ended), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            self._token = ""
            with suppress(StoreError):  # the lock ends by itself; an error of the push is not hidden
                self._release_lock(token)

    def _keep_lock(self, token: str, ended: threading.Event) -> None:
        while not ended.wait(LOCK_SECONDS / 5):
            moment = time.monotonic()
            try:
                renewed = self._renew_lock(token)
            except StoreError:
                continue  # the next attempt renews the lock or finds it lost
            self._renewed_at = moment if renewed else -LOCK_SECONDS

    def _require_lock(self) -> None:
        if time.monotonic() - self._renewed_at >= LOCK_SECONDS:
            raise self._lock_lost()

    def _lock_lost(self) -> StoreError:
        return StoreError(
            f"{self.location}: this push lost its lock, since it stood still for {LOCK_SECONDS:g} s or more; nothing "
            "more was written; publish again"
        )
