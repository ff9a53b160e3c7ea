"""A token bucket for each key, which all workers of an instance share: a number each, in a file that they map.

The number is the moment at which the bucket is full again, on the machine's monotonic clock. Workers do not lock it:
two that read the same number at one instant count one request between them, and
nobody ever waits for a stopped worker.
"""

from __future__ import annotations

import mmap
from functools import cached_property
from pathlib import Path

MAX_KEYS = 100_000
BYTES = 8


class Limits:
    """The buckets of all keys. `file` is made at the first request; without a place for it a worker counts alone."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def take(self, position: int, per_second: float, burst: int, moment: float) -> float:
        """Take a token for one request -> 0, or the seconds until there is one.

        `position` is the key's in the file of keys, `moment` is time.monotonic().
        """
        each = 1 / per_second
        full_at = self._full_at[position % MAX_KEYS]
        if (
            not moment <= full_at <= moment + (burst + 1) * each
        ):  # long full, or a number from before the machine's start
            full_at = moment
        wait = full_at + each - burst * each - moment
        if wait > 1e-9:
            return wait
        self._full_at[position % MAX_KEYS] = full_at + each
        return 0.0

    @cached_property
    def _full_at(self) -> memoryview[float]:
        return memoryview(self._mapped()).cast("d")

    def _mapped(self) -> mmap.mmap:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as made:
                made.truncate(MAX_KEYS * BYTES)
            with self._file.open("r+b") as file:
                return mmap.mmap(file.fileno(), MAX_KEYS * BYTES)
        except OSError:  # a folder that cannot be written to
            return mmap.mmap(-1, MAX_KEYS * BYTES)
