"""A lake with many likes, written in seconds: for benchmarks, and for tests of memory use."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from nightloom.contracts import INTERACTIONS
from nightloom.lake import Lake, arrow_schema

FILE_ROWS = 500_000
LIKES_PER_USER = 20
SOURCE = """
[[sources]]
name = "likes"
kind = "events"
path = "landing"
format = "json"
fields = { user_id = "string", item_id = "string", at = "timestamp" }
columns = { user_id = "user_id", item_id = "item_id", event = "'like'", occurred_at = "at" }
[[signals]]
event = "like"
"""
"""What nightloom.toml says of likes; no benchmark reads files of them."""


def write_likes(root: Path, likes: int, items: int) -> Lake:
    """Write silver.interactions with `likes` likes of 50 days, some items much more popular than others."""
    lake, schema = Lake(root), arrow_schema(INTERACTIONS)
    lake.create(INTERACTIONS)
    rng = np.random.default_rng(0)
    for first in range(0, likes, FILE_ROWS):
        n = min(FILE_ROWS, likes - first)
        seconds = 1_760_000_000 + np.sort(rng.integers(0, 50 * 86_400, n))
        ids = pa.array(np.char.add("e", np.arange(first, first + n).astype(str)))
        columns = {
            "event_id": ids,
            "user_id": pa.array(np.char.add("user-", rng.integers(0, likes // LIKES_PER_USER, n).astype(str))),
            "item_id": pa.array(np.char.add("item-", (items * rng.random(n) ** 2).astype(int).astype(str))),
            "event": pa.repeat("like", n),
            "value": pa.nulls(n, pa.float64()),
            "weight": pa.repeat(1.0, n),
            "occurred_at": pa.array(seconds * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "rescued": pa.nulls(n, schema.field("rescued").type),
            "row_id": ids,
            "night": pa.repeat(pa.scalar(date(2026, 3, 1)), n),
        }
        write_deltalake(lake.path(INTERACTIONS), pa.table(columns, schema=schema), mode="append")
    return lake
