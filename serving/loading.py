"""Rows -> a version of a store, part by part: in parallel, at a limited rate, going on where a killed load stopped.

Then everything is read back: counts, checksums, stamps, and sampled rows by key.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightloom.lake.duck import spilling_duckdb
from serving.stores import base, versions
from serving.stores.base import SCHEMA, Store
from serving.stores.versions import PushError, Reason

SAMPLE_EVERY = 1009
"""One row in so many is remembered while loading and read back by its key."""
ROUND = 1 << 64
Progress = Callable[[str, int], None]
"""Gets a kind and its rows so far."""


@dataclass
class Loaded:
    """What went in, by kind: rows, and the sum of the hashes of all keys and values."""

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    content: int = 0
    """The same over all kinds, without the values' heads: equal content, equal sum."""
    sample: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        return f"{self.content:016x}"


def load(
    store: Store, version: int, kinds: Mapping[str, Iterator[pa.RecordBatch]], rate: int | None, progress: Progress
) -> Loaded:
    """Put each kind's rows (lists.ROWS), a batch a part, and finish. `rate` is rows a second at most."""
    loaded, done, begun, sent = Loaded(), store.begin(version), time.monotonic(), 0
    with ThreadPoolExecutor(store.workers) as pool:
        waiting = deque[Future[None]]()
        for kind, batches in kinds.items():
            rows, last = 0, b""
            for number, batch in enumerate(batches):
                last = _rising(kind, batch["key"], last)
                _noted(loaded, kind, batch, rows)
                rows += batch.num_rows
                if (kind, number) not in done:
                    if rate is not None:
                        time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
                    sent += batch.num_rows
                    waiting.append(pool.submit(store.put, version, (kind, number), batch.select(SCHEMA.names)))
                while len(waiting) > store.workers:
                    waiting.popleft().result()
                progress(kind, rows)
            loaded.counts[kind] = rows
        for each in waiting:
            each.result()
    store.finish(version)
    return loaded


def _rising(kind: str, keys: pa.Array, last: bytes) -> bytes:
    """The last key. Raises PushError where one does not rise above the one before it, `last` at first."""
    before = pa.concat_arrays([pa.array([last], pa.binary()), keys[:-1]])
    if not pc.all(pc.less(before, keys)).as_py():
        again = keys.filter(pc.greater_equal(before, keys))[0].as_py()
        raise PushError(
            Reason.COUNT_MISMATCH, f"{kind} has {again!r} twice, or out of order; an id must come once only"
        )
    return bytes(keys[-1].as_py())


def _noted(loaded: Loaded, kind: str, batch: pa.RecordBatch, rows: int) -> None:
    loaded.sums[kind] = (loaded.sums.get(kind, 0) + _sum(batch["whole"])) % ROUND
    loaded.content = (loaded.content + _sum(batch["content"])) % ROUND
    some = batch.select(SCHEMA.names).slice(-rows % SAMPLE_EVERY)
    taken = some.take(pa.array(range(0, some.num_rows, SAMPLE_EVERY), pa.int64()))
    loaded.sample.setdefault(kind, []).extend(base.pairs(taken))


def _sum(hashes: pa.Array) -> int:
    """Modulo 2^64."""
    return int(np.add.reduce(hashes.to_numpy(zero_copy_only=False), dtype=np.uint64))


def verify(store: Store, version: int, loaded: Loaded, scratch: Path) -> None:
    """Read everything back: counts, checksums, version stamps, sampled rows. Raises PushError."""
    rows, named = store.open(version), f"{versions.name(version)} of {store.where}"
    for kind, expected in loaded.counts.items():
        found, total, stamped = _read_through(rows.scan(kind), version, scratch)
        if found != expected:
            raise PushError(
                Reason.COUNT_MISMATCH,
                f"{named} holds {found:,} {kind}, {expected:,} were pushed; an id must come once only",
            )
        if stamped != expected:
            raise PushError(
                Reason.CHECKSUM,
                f"{named}: {expected - stamped:,} {kind} do not begin with {base.head(version, '|').split('|')[0]}",
            )
        if total != loaded.sums.get(kind, 0):
            raise PushError(Reason.CHECKSUM, f"{named}: {kind} do not read back as they were written; check the disk")
    for kind, pairs in loaded.sample.items():
        found_values = rows.get(kind, [key for key, _ in pairs])
        if found_values != [value for _, value in pairs]:
            raise PushError(Reason.CHECKSUM, f"{named}: a sampled read of {kind} gave another value")
    (everybody,) = rows.get("popular", [base.key(base.EVERYBODY)])
    if everybody is None or not json.loads(everybody)["items"]:
        raise PushError(Reason.COUNT_MISMATCH, f"{named} has no popular list `all`, which unknown users get")


def _read_through(batches: Iterator[pa.RecordBatch], version: int, scratch: Path) -> tuple[int, int, int]:
    """Rows, sum of the hashes of keys and values, and how many values carry the version's stamp."""
    stamp, rows, total, stamped = base.head(version, "|").split("|")[0].encode(), 0, 0, 0
    with spilling_duckdb(scratch) as connection:
        for batch in batches:
            connection.register("rows", pa.Table.from_batches([batch]))
            (found,) = connection.execute(
                """SELECT sum(hash(key, value))::HUGEINT, count(*) FILTER (value >= ? AND value < ?) FROM rows""",
                [stamp, stamp + b"\xff"],
            ).fetchall()
            rows, total, stamped = rows + batch.num_rows, (total + int(found[0])) % ROUND, stamped + found[1]
    return rows, total, stamped
