"""silver.interactions at a pinned version -> what one rank trains on: the whole histories of its share of the users.

A hash of the user's id says whose a user is, so ranks need not agree on anything. The table streams through; of it a
process holds what SORT_MEMORY allows. The histories, 16 bytes a like, are mapped from files without a name in TMPDIR:
the system reads and drops their pages as it needs to, and they are gone when the process is.
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
from training.attributes import U64, Said, of_items, of_users, places
from training.dataset import before_condition

SORT_MEMORY = "500MB"
"""DuckDB sorts within this, and on disk beyond it."""
ROWS = 100_000
"""In a batch out of the sort."""
COLUMNS = ("user_id", "item_id", "CAST(weight AS float) AS weight", "to_unixtime(occurred_at) AS second")


def share(
    lake: Lake, version: int, cut: datetime, seed: int, rank: int = 0, size: int = 1, said: Said | None = None
) -> Examples:
    """Likes before the cut of this rank's users; the items are those of all ranks. Raises MissingTableError.

    With `said`, items that were described are there too, liked or not, and what is said of items and users.
    """
    likes = f"{before_condition(cut)} AND weight > 0"
    found = lake.rows(INTERACTIONS, likes, ("DISTINCT item_id",), version)["item_id"]
    item_ids = np.sort(np.array(found.to_pylist(), np.str_))
    features, traits = None, None
    if len(item_ids) and said and said.items is not None:
        described, words = of_items(lake, said.items)
        item_ids = np.union1d(item_ids, described)
        features = words.of(places(described, item_ids))
    users, histories = _histories(_sorted(lake.stream(INTERACTIONS, likes, COLUMNS, version), item_ids, rank, size))
    if said and said.users is not None:
        known, words = of_users(lake, said.users, rank, size)
        traits = words.of(places(known, users))
    return Examples(item_ids, replace(histories, traits=traits), int(cut.timestamp()), seed, features)


def _sorted(likes: pa.RecordBatchReader, item_ids: Strings, rank: int, size: int) -> Iterator[pa.RecordBatch]:
    """The rank's likes in the order of their users, oldest first: user (a hash), item (index), weight, second."""
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect(config=_within(scratch)) as base:
        base.execute("SET enable_progress_bar = false")
        base.register("likes", likes)
        base.register("items", pa.table({"item_id": item_ids, "item": np.arange(len(item_ids), dtype=np.int32)}))
        yield from base.sql(f"""
            SELECT hash(user_id) AS user, item, weight, second FROM likes JOIN items USING (item_id)
            WHERE hash(user_id) % {size} = {rank} ORDER BY user, second, item, weight
        """).to_arrow_reader(ROWS)


def _within(scratch: str) -> dict[str, str | bool | int | float | list[str]]:
    # The join's order as written: likes pass by and items are held. DuckDB, which knows the size of neither, may hold
    # the likes. It needs memory for each thread.
    return {
        "memory_limit": SORT_MEMORY,
        "temp_directory": scratch,
        "threads": 2,
        "disabled_optimizers": "join_order,build_side_probe_side",
    }


def _histories(rows: Iterator[pa.RecordBatch]) -> tuple[U64, Histories]:
    """Rows in the order of their users -> the users (hashes), and the same as CSR arrays."""
    with ExitStack() as opened:
        items, weights, times = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        owners, starts, done, last = [np.empty(0, np.uint64)], list[I64](), 0, np.empty(0, np.uint64)
        for batch in rows:
            users = batch["user"].to_numpy()
            changed = np.diff(users, prepend=last if done else ~users[:1])
            starts.append(done + np.flatnonzero(changed))
            owners.append(users[changed != 0])
            for name, file in (("item", items), ("weight", weights), ("second", times)):
                file.write(batch[name].to_numpy())
            done, last = done + len(users), users[-1:]
        indptr = np.concatenate([*starts, [done]]).astype(np.int64)
        arrays = _mapped(items, np.int32), _mapped(weights, np.float32), _mapped(times, np.int64)
        return np.concatenate(owners), Histories(indptr, *arrays)


def _mapped(file: IO[bytes], dtype: type[np.generic]) -> NDArray[Any]:
    """A file's numbers, read when they are looked at; a change stays in this process."""
    return np.asarray(np.memmap(file, dtype, "c")) if file.tell() else np.empty(0, dtype)
