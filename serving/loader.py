"""Rows -> a version of a store, part by part: in parallel, at a limited rate, resuming a killed load.

verify() then reads everything back: counts, checksums, stamps, and sampled rows by key.
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
from serving.stores import base
from serving.stores.base import SCHEMA, Store
from serving.stores.pushes import FailureReason, PushError, version_name

SAMPLE_EVERY = 1009
"""One row in so many is remembered during the load and read back by its key."""
HASH_MODULUS = 1 << 64
Progress = Callable[[str, int], None]
"""Called with a kind and its number of rows so far."""


@dataclass
class LoadSummary:
    """What was loaded, by kind: number of rows, and the sum of the hashes of all keys and values."""

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    content: int = 0
    """The sum over all kinds, without the values' headers: equal content gives an equal sum."""
    sample: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        return f"{self.content:016x}"


def load(
    store: Store, version: int, kinds: Mapping[str, Iterator[pa.RecordBatch]], rate: int | None, progress: Progress
) -> LoadSummary:
    """Load each kind's rows, a batch per part, and finish. `rate` is the most rows per second."""
    loaded, complete, begun, sent = LoadSummary(), store.begin_load(version), time.monotonic(), 0
    with ThreadPoolExecutor(store.load_workers) as pool:
        waiting = deque[Future[None]]()
        for kind, batches in kinds.items():
            rows, last = 0, b""
            for number, batch in enumerate(batches):
                last = _check_ascending(kind, batch["key"], last)
                _add_to_summary(loaded, kind, batch, rows)
                rows += batch.num_rows
                if (kind, number) not in complete:
                    if rate is not None:
                        time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
                    sent += batch.num_rows
                    waiting.append(pool.submit(store.load_part, version, (kind, number), batch.select(SCHEMA.names)))
                while len(waiting) > store.load_workers:
                    waiting.popleft().result()
                progress(kind, rows)
            loaded.counts[kind] = rows
        for each in waiting:
            each.result()
    store.finish_load(version)
    return loaded


def _check_ascending(kind: str, keys: pa.Array, last: bytes) -> bytes:
    """The last of the keys. Raises PushError where a key is not greater than the one before it, `last` at first."""
    before = pa.concat_arrays([pa.array([last], pa.binary()), keys[:-1]])
    if not pc.all(pc.less(before, keys)).as_py():
        wrong = keys.filter(pc.greater_equal(before, keys))[0].as_py()
        raise PushError(
            FailureReason.COUNT_MISMATCH, f"{kind} has {wrong!r} twice, or out of order; an id must come once only"
        )
    return bytes(keys[-1].as_py())


def _add_to_summary(loaded: LoadSummary, kind: str, batch: pa.RecordBatch, rows: int) -> None:
    loaded.sums[kind] = (loaded.sums.get(kind, 0) + _sum_hashes(batch["row_hash"])) % HASH_MODULUS
    loaded.content = (loaded.content + _sum_hashes(batch["body_hash"])) % HASH_MODULUS
    some = batch.select(SCHEMA.names).slice(-rows % SAMPLE_EVERY)
    sampled = some.take(pa.array(range(0, some.num_rows, SAMPLE_EVERY), pa.int64()))
    loaded.sample.setdefault(kind, []).extend(base.key_value_pairs(sampled))


def _sum_hashes(hashes: pa.Array) -> int:
    """The sum modulo 2^64."""
    return int(np.add.reduce(hashes.to_numpy(zero_copy_only=False), dtype=np.uint64))


def verify(store: Store, version: int, loaded: LoadSummary, scratch: Path) -> None:
    """Read everything back: counts, checksums, version stamps, sampled rows. Raises PushError."""
    rows, named = store.open_version(version), f"{version_name(version)} of {store.location}"
    for kind, expected in loaded.counts.items():
        found, total, stamped = _read_back(rows.scan(kind), version, scratch)
        if found != expected:
            raise PushError(
                FailureReason.COUNT_MISMATCH,
                f"{named} holds {found:,} {kind}, {expected:,} were pushed; an id must come once only",
            )
        if stamped != expected:
            raise PushError(
                FailureReason.CHECKSUM,
                f"{named}: {expected - stamped:,} {kind} do not begin with {base.version_stamp(version)}",
            )
        if kind in loaded.sums and total != loaded.sums[kind]:
            raise PushError(
                FailureReason.CHECKSUM, f"{named}: {kind} do not read back as they were written; check the disk"
            )
    for kind, pairs in loaded.sample.items():
        found_values = rows.get(kind, [key for key, _ in pairs])
        if found_values != [value for _, value in pairs]:
            raise PushError(FailureReason.CHECKSUM, f"{named}: a sampled read of {kind} gave another value")
    (everybody,) = rows.get("popular", [base.encode_key(base.EVERYBODY)])
    if everybody is None or not json.loads(everybody)["items"]:
        raise PushError(FailureReason.COUNT_MISMATCH, f"{named} has no popular list `all`, which unknown users get")


def _read_back(batches: Iterator[pa.RecordBatch], version: int, scratch: Path) -> tuple[int, int, int]:
    """Number of rows, sum of the hashes of keys and values, and number of values with the version's stamp."""
    stamp, rows, total, stamped = base.version_stamp(version).encode(), 0, 0, 0
    with spilling_duckdb(scratch) as connection:
        for batch in batches:
            connection.register("rows", pa.Table.from_batches([batch]))
            (found,) = connection.execute(
                """SELECT sum(hash(key, value))::HUGEINT, count(*) FILTER (value >= ? AND value < ?) FROM rows""",
                [stamp, stamp + b"\xff"],
            ).fetchall()
            rows, total, stamped = rows + batch.num_rows, (total + int(found[0])) % HASH_MODULUS, stamped + found[1]
    return rows, total, stamped
