"""silver.items and silver.users at pinned versions -> what is said of them, as words for models that take features.

A category is the word `category=NAME`, a declared attribute `ATTRIBUTE=VALUE`.
"""

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.base import Strings
from models.features import Features, hashed
from nightloom.contracts import ITEMS, USERS, Table
from nightloom.lake import Lake
from training.dataset import Holdout

U64 = NDArray[np.uint64]
OF_ATTRIBUTES = "list_transform(map_entries(attributes), lambda entry: entry.key || '=' || entry.value)"
OF_CATEGORIES = "list_transform(categories, lambda name: 'category=' || name)"


@dataclass(frozen=True)
class Said:
    """Versions of silver.items and silver.users; None for a table that is not there."""

    items: int | None = None
    users: int | None = None


NOTHING = Said()


def of_items(lake: Lake, version: int) -> tuple[Strings, Features]:
    """Every item that was ever described, sorted, and its words."""
    words = f"list_concat({OF_CATEGORIES}, {OF_ATTRIBUTES})"
    found = _sorted(lake, ITEMS, version, "item_id, categories, attributes", f"item_id AS key, {words} AS words")
    return np.array(found["key"].to_pylist(), np.str_), _features(found["words"])


def of_users(lake: Lake, version: int, rank: int = 0, size: int = 1) -> tuple[U64, Features]:
    """The described users of a rank (hashed and split as in training.rank_shards), sorted; and their words."""
    mine = f"WHERE hash(user_id) % {size} = {rank}"
    said = f"hash(user_id) AS key, {OF_ATTRIBUTES} AS words"
    found = _sorted(lake, USERS, version, "user_id, attributes", said, mine)
    return found["key"].to_numpy(), _features(found["words"])


def described(lake: Lake, version: int, later: Holdout) -> Holdout:
    """The same evaluation users, with what silver.users at a version says of them."""
    return replace(later, histories=replace(later.histories, traits=of_these_users(lake, version, later.user_ids)))


def of_these_users(lake: Lake, version: int, user_ids: Strings) -> Features:
    """The words of some users, in the order asked for."""
    known, features = of_users(lake, version)
    with duckdb.connect() as base:
        base.register("asked", pa.table({"user_id": user_ids}))
        keys = base.sql("SELECT hash(user_id) AS key FROM asked").to_arrow_table()["key"].to_numpy()
    return features.of(places(known, keys))


def places(known: NDArray[Any], asked: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of `asked` is in the sorted `known`; -1 where it is not."""
    if not len(known):
        return np.full(len(asked), -1)
    found = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[found] == asked, found, -1)


def _sorted(lake: Lake, table: Table, version: int, columns: str, said: str, where: str = "") -> pa.Table:
    rows = lake.stream(table, "true", (columns,), version)
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect(config={"temp_directory": scratch}) as base:
        base.register("described", rows)
        return base.sql(f"SELECT {said} FROM described {where} ORDER BY key").to_arrow_table()


def _features(lists: pa.ChunkedArray) -> Features:
    """Lists of words -> hashed, each distinct word once."""
    column = lists.combine_chunks()
    distinct = column.flatten().dictionary_encode()
    indptr = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))])
    return Features(indptr.astype(np.int64), hashed(distinct.dictionary.to_pylist())[distinct.indices.to_numpy()])
