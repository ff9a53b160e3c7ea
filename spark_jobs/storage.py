"""A Delta table -> its storage: files, bytes, rows, log, and whether rewriting it would help a reader."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nightloom.contracts import Table
from nightloom.lake import Lake
from nightloom.places import files_below

SMALL = 16 * 2**20
"""A file below so many bytes is small: a reader spends more time on opening it than on reading it."""
EXCESS = 10
"""Compact when it saves so many small files. Opening ten files takes about 10 ms on a local disk and half a second on
S3; rewriting a few small files costs less than a night of readers that open them."""
DEPTH, DEPTH_SHARE = 4.0, 0.5
"""Sort the table when a reader of one moment opens more than 4 files and more than half of all: it reads most of the
table to find one day. Sorting rewrites every file, so it has to be worth it."""


@dataclass(frozen=True)
class TableStorage:
    """A table's newest version. `excess`: small files that compaction saves. `depth`: files with rows of one moment."""

    version: int
    rows: int
    files: int
    bytes: int
    disk_bytes: int
    log_files: int
    small_share: float
    excess: int
    depth: float

    @property
    def needs_compaction(self) -> bool:
        return self.excess >= EXCESS

    @property
    def needs_ordering(self) -> bool:
        return self.depth > DEPTH and self.depth > DEPTH_SHARE * self.files


def measure_storage(lake: Lake, table: Table) -> TableStorage:
    """Measure a table."""
    opened, stored = lake.open(table), list(files_below(lake.place(table)))
    files: list[dict[str, Any]] = pa.table(opened.get_add_actions(flatten=True)).to_pylist()
    small = [file for file in files if file["size_bytes"] < SMALL]
    parts = Counter(file.get(f"partition.{table.partition}") for file in small)
    log = sum(file.name.startswith("_delta_log/") for file in stored)
    return TableStorage(
        version=opened.version(), rows=sum(file["num_records"] for file in files), files=len(files),
        bytes=sum(file["size_bytes"] for file in files), disk_bytes=sum(file.bytes for file in stored), log_files=log,
        small_share=len(small) / len(files) if files else 0.0,
        excess=sum(count - 1 for count in parts.values()), depth=_depth(files, table.order),
    )  # fmt: skip


def _depth(files: list[dict[str, Any]], order: str | None) -> float:
    """The mean number of files that contain a moment: the sum of the files' time spans over the table's time span."""
    spans = [(file[f"min.{order}"], file[f"max.{order}"]) for file in files if file.get(f"min.{order}") is not None]
    if not spans:
        return 0.0
    whole = max(last for _, last in spans) - min(first for first, _ in spans)
    covered = sum((last - first).total_seconds() for first, last in spans)
    return covered / whole.total_seconds() if whole else float(len(spans))
