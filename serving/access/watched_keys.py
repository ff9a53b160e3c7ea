"""The keys as a running worker knows them: a thread reads the file each second."""

from __future__ import annotations

import logging
import threading
import weakref

from nightloom.places import Place
from serving.access.keys import AccessError, KeyRing, parse_keys, read_file

SECONDS = 1.0
log = logging.getLogger(__name__)


class WatchedKeys:
    """`ring` is None until the file was read once; `open` says that no key was ever made.

    A worker that has seen a key never opens again, and goes on with the keys that it knows while the file cannot be
    read, or is gone.
    """

    def __init__(self, folder: Place) -> None:
        self.ring: KeyRing | None = None
        self.trouble = ""
        """Why the file could not be read the last time."""
        self._folder = folder
        self._content: bytes | None = None
        self.read()
        closed = threading.Event()
        threading.Thread(target=_watch, args=(weakref.ref(self), closed), name="keys", daemon=True).start()
        self._finalizer = weakref.finalize(self, closed.set)

    @property
    def open(self) -> bool:
        return self.ring is not None and not self.ring.keys

    def read(self) -> None:
        """Read the file, once."""
        try:
            content = read_file(self._folder)
            if content is None and self.ring is not None and self.ring.keys:
                raise AccessError(f"the file of keys in {self._folder} is gone; the keys that were in it still count")
            if content != self._content or self.ring is None:
                self.ring, self._content = parse_keys(self._folder, content), content
            self.trouble = ""
        except AccessError as error:
            if str(error) != self.trouble:
                log.error("%s", error)
            self.trouble = str(error)

    def close(self) -> None:
        """End the thread."""
        self._finalizer()


def _watch(keys: weakref.ref[WatchedKeys], closed: threading.Event) -> None:
    while not closed.wait(SECONDS):
        if (watched := keys()) is None:
            return
        watched.read()
        del watched
