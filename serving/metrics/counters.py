"""Counters of a worker: numbers in a file that it maps, one file for each worker in the server's folder.

A count is an addition to a mapped number, which takes a tenth of a microsecond and no lock, since only one worker
writes a file. A worker that starts takes the file of one that has ended and goes on from its numbers, so that no sum of
all files ever falls. What a scrape reads is the sum.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, count, product
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from serving.metrics.exposition import Family, Sample

FOLDER_VARIABLE = "NIGHTLOOM_COUNTERS"
"""How `nightloom serve` gives its workers the folder of their counters."""
BYTES = 8
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histogram's buckets."""
STATUSES = range(100, 600)
OTHER = "other"
"""The route of a request that fits none."""
Cells = npt.NDArray[np.float64]


class Counters:
    """The numbers of one worker.

    `routes` are the paths of the app's routes, `sources` the names of the lists that an answer may be from: each worker
    of a server has the same. Without a folder the worker counts alone, in its memory.
    """

    def __init__(self, routes: Sequence[str], sources: Sequence[str], folder: Path | None = None) -> None:
        self._routes = [*dict.fromkeys(routes), OTHER]
        each = len(STATUSES) + len(SECONDS) + 2  # statuses, buckets, the sum of the seconds
        self._starts = {route: number * each for number, route in enumerate(self._routes)}
        lists = each * len(self._routes)
        self._lists = {key: lists + number for number, key in enumerate(product(sources, (False, True)))}
        self._events = lists + len(self._lists)
        self._store_failures = self._events + 2
        self._size = self._store_failures + 1
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._map = self._mapped()
        self._cells: memoryview[float] = memoryview(self._map).cast("d")

    def close(self) -> None:
        """Leave the file to another worker. Nothing is counted after it."""
        self._cells.release()
        self._map.close()
        if self._file is not None:
            self._file.close()

    def count_request(self, route: str | None, status: int, seconds: float) -> None:
        """Count an answer. `route` is the path of its route."""
        cells, start = self._cells, self._starts.get(route or OTHER, self._starts[OTHER])
        cells[start + status - STATUSES.start] += 1
        cells[start + len(STATUSES) + bisect_left(SECONDS, seconds)] += 1
        cells[start + len(STATUSES) + len(SECONDS) + 1] += seconds

    def count_list(self, source: str, stale: bool) -> None:
        """Count a list by the source of its first item."""
        self._cells[self._lists[source, stale]] += 1

    def count_events(self, accepted: int, rejected: int) -> None:
        self._cells[self._events] += accepted
        self._cells[self._events + 1] += rejected

    def count_store_failure(self) -> None:
        self._cells[self._store_failures] += 1

    def families(self) -> Iterator[Family]:
        """The sums of all workers. A status, a route or a source without a count is left out."""
        cells = self._sum()
        yield Family(
            "nightloom_requests_total", "counter", "Answers of the API and the console, by route and status.",
            [sample for route in self._routes for sample in self._requests(cells, route)],
        )  # fmt: skip
        yield Family(
            "nightloom_request_seconds", "histogram", "Seconds until an answer was sent, by route.",
            [sample for route in self._routes for sample in self._histogram(cells, route)],
        )  # fmt: skip
        yield Family(
            "nightloom_lists_total", "counter",
            "Lists by the source of their first item; stale: from the last good version, the store is in trouble.",
            [
                Sample(cells[cell], {"source": source, "stale": str(stale).lower()})
                for (source, stale), cell in self._lists.items()
            ],
        )  # fmt: skip
        results = [Sample(cells[self._events + n], {"result": each}) for n, each in enumerate(("accepted", "rejected"))]
        yield Family("nightloom_events_total", "counter", "Events that were sent here.", results)
        yield Family(
            "nightloom_store_failures_total", "counter", "Reads of the serving store that failed.",
            [Sample(cells[self._store_failures])],
        )  # fmt: skip

    def _requests(self, cells: Cells, route: str) -> Iterator[Sample]:
        counts = cells[self._starts[route] :][: len(STATUSES)]
        for place in np.flatnonzero(counts):
            yield Sample(counts[place], {"route": route, "status": str(STATUSES.start + place)})

    def _histogram(self, cells: Cells, route: str) -> Iterator[Sample]:
        *buckets, seconds = cells[self._starts[route] + len(STATUSES) :][: len(SECONDS) + 2]
        if not any(buckets):
            return
        counts, ends = [*accumulate(buckets)], [*(f"{end:g}" for end in SECONDS), "+Inf"]
        for end, found in zip(ends, counts, strict=True):
            yield Sample(found, {"route": route, "le": end}, "_bucket")
        yield Sample(round(seconds, 6), {"route": route}, "_sum")
        yield Sample(counts[-1], {"route": route}, "_count")

    def _sum(self) -> Cells:
        if self._folder is None:
            return np.array(self._cells)
        total = np.zeros(self._size)
        for file in self._folder.iterdir():
            found = np.fromfile(file, np.float64)
            if len(found) == self._size:  # else its worker is starting
                total += found
        return total

    def _mapped(self) -> mmap.mmap:
        if self._folder is None:
            return mmap.mmap(-1, self._size * BYTES)
        for number in count():
            file = (self._folder / str(number)).open("ab+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it ends with the process
            except BlockingIOError:  # another worker's
                file.close()
                continue
            file.truncate(self._size * BYTES)
            self._file = file
            return mmap.mmap(file.fileno(), self._size * BYTES)
        raise AssertionError("there is always a next number")


def counters_folder() -> Path | None:
    """The folder that `nightloom serve` made for this worker and the others; None in another server."""
    found = os.environ.get(FOLDER_VARIABLE)
    return Path(found) if found else None


@contextmanager
def shared_counters() -> Iterator[None]:
    """A temporary folder for the counters of workers that start in the block; without one each worker counts alone."""
    try:
        made = tempfile.TemporaryDirectory(prefix="nightloom-counters-", ignore_cleanup_errors=True)
    except OSError:
        yield
        return
    with made as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]
