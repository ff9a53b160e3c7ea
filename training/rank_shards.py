"""silver.interactions at a pinned version -> the training examples of one rank: complete histories of its users.

A hash of the user's id decides which rank trains on the user, so ranks need no communication to split the data. The
table is streamed; a process holds as much of it as SORT_MEMORY allows. The histories, 16 bytes a like, are mapped from
unnamed files in TMPDIR: the operating system loads and drops their pages as needed, and they vanish with the process.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import IO, Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.base import I64, Examples, Histories, Strings
from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake
from training.dataset import before_condition
from training.features import NO_FEATURES, U64, FeatureVersions, item_features, positions_in, user_features

SORT_MEMORY = "500MB"
"""DuckDB sorts within this, and on disk beyond it."""
BATCH_ROWS = 100_000
"""Rows of each Arrow batch that comes out of the sort."""
COLUMNS = ("user_id", "item_id", "CAST(weight AS float) AS weight", "to_unixtime(occurred_at) AS second")


def read_shard(
    lake: Lake,
    version: int,
    cut: datetime,
    seed: int,
    rank: int = 0,
    size: int = 1,
    versions: FeatureVersions = NO_FEATURES,
) -> Examples:
    """Likes before the cut of this rank's users; the items are those of all ranks. Raises MissingTableError.

    With `versions`, the examples hold the features of items and users too, and every described item, liked or not.
    """
    likes = f"{before_condition(cut)} AND weight > 0"
    liked = lake.rows(INTERACTIONS, likes, ("DISTINCT item_id",), version)["item_id"]
    item_ids = np.sort(np.array(liked.to_pylist(), np.str_))
    of_items, of_users = None, None
    if len(item_ids) and versions.items is not None:
        described, features = item_features(lake, versions.items)
        item_ids = np.union1d(item_ids, described)
        of_items = features.of(positions_in(described, item_ids))
    sorted_likes = _sorted_likes(lake.stream(INTERACTIONS, likes, COLUMNS, version), item_ids, rank, size)
    users, histories = _read_histories(sorted_likes)
    if versions.users is not None:
        known, features = user_features(lake, versions.users, rank, size)
        of_users = features.of(positions_in(known, users))
    return Examples(item_ids, replace(histories, user_features=of_users), int(cut.timestamp()), seed, of_items)


def _sorted_likes(likes: pa.RecordBatchReader, item_ids: Strings, rank: int, size: int) -> Iterator[pa.RecordBatch]:
    """The rank's likes by user, each user's oldest first: user (a hash), item (an index), weight, second."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(config=_duckdb_config(folder)) as base:
        base.execute("SET enable_progress_bar = false")
        base.register("likes", likes)
        base.register("items", pa.table({"item_id": item_ids, "item": np.arange(len(item_ids), dtype=np.int32)}))
        yield from base.sql(f"""
            SELECT hash(user_id) AS user, item, weight, second FROM likes JOIN items USING (item_id)
            WHERE hash(user_id) % {size} = {rank} ORDER BY user, second, item, weight
        """).to_arrow_reader(BATCH_ROWS)


def _duckdb_config(temporary_folder: str) -> dict[str, str | bool | int | float | list[str]]:
    # DuckDB knows the size of neither side, and might hold the likes in memory. As written, the join holds the items
    # and streams the likes. Each thread needs memory of its own.
    return {
        "memory_limit": SORT_MEMORY,
        "temp_directory": temporary_folder,
        "threads": 2,
        "disabled_optimizers": "join_order,build_side_probe_side",
    }


def _read_histories(batches: Iterator[pa.RecordBatch]) -> tuple[U64, Histories]:
    """Likes sorted by user -> the users (hashes), and their histories as memory-mapped CSR arrays."""
    with ExitStack() as files:
        items, weights, times = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        user_parts, start_parts, rows, last_user = [np.empty(0, np.uint64)], list[I64](), 0, np.empty(0, np.uint64)
        for batch in batches:
            users = batch["user"].to_numpy()
            changes = np.diff(users, prepend=last_user if rows else ~users[:1])
            start_parts.append(rows + np.flatnonzero(changes))
            user_parts.append(users[changes != 0])
            for name, file in (("item", items), ("weight", weights), ("second", times)):
                file.write(batch[name].to_numpy())
            rows, last_user = rows + len(users), users[-1:]
        indptr = np.concatenate([*start_parts, [rows]]).astype(np.int64)
        arrays = _memory_map(items, np.int32), _memory_map(weights, np.float32), _memory_map(times, np.int64)
        return np.concatenate(user_parts), Histories(indptr, *arrays)


def _memory_map(file: IO[bytes], dtype: type[np.generic]) -> NDArray[Any]:
    """A file's numbers, read on access; changes stay in this process (copy on write)."""
    return np.asarray(np.memmap(file, dtype, "c")) if file.tell() else np.empty(0, dtype)
