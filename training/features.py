"""silver.items and silver.users at pinned versions -> the features of items and users, for the models that take them.

A category is the feature `category=NAME`, a declared attribute `ATTRIBUTE=VALUE`.
"""

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.base import Strings
from models.features import Features, hash_features
from nightloom.contracts import ITEMS, USERS, Table
from nightloom.lake import Lake
from training.dataset import Holdout, Texts

U64 = NDArray[np.uint64]
OF_ATTRIBUTES = "list_transform(map_entries(attributes), lambda entry: entry.key || '=' || entry.value)"
OF_CATEGORIES = "list_transform(categories, lambda name: 'category=' || name)"


@dataclass(frozen=True)
class FeatureVersions:
    """Versions of silver.items and silver.users; None where the table is not used."""

    items: int | None = None
    users: int | None = None


NO_FEATURES = FeatureVersions()


def item_features(lake: Lake, version: int) -> tuple[Strings, Features]:
    """Every item that was ever described, sorted, and its features."""
    features = f"list_concat({OF_CATEGORIES}, {OF_ATTRIBUTES})"
    columns, selected = "item_id, categories, attributes", f"item_id AS key, {features} AS features"
    found = _read_sorted(lake, ITEMS, version, columns, selected)
    return np.array(found["key"].to_pylist(), np.str_), _hashed(found["features"])


def user_features(lake: Lake, version: int, rank: int = 0, size: int = 1) -> tuple[U64, Features]:
    """The described users of a rank, as training.rank_shards hashes and shares them out, sorted; and their features."""
    mine = f"WHERE hash(user_id) % {size} = {rank}"
    selected = f"hash(user_id) AS key, {OF_ATTRIBUTES} AS features"
    found = _read_sorted(lake, USERS, version, "user_id, attributes", selected, mine)
    return found["key"].to_numpy(), _hashed(found["features"])


def with_user_features(lake: Lake, version: int, holdout: Holdout) -> Holdout:
    """The same users, with their features from silver.users at a version."""
    features = features_of(lake, version, holdout.user_ids)
    return replace(holdout, histories=replace(holdout.histories, user_features=features))


def features_of(lake: Lake, version: int, user_ids: Texts) -> Features:
    """The features of some users, in the order of `user_ids`."""
    known, features = user_features(lake, version)
    with duckdb.connect() as base:
        base.register("wanted", pa.table({"user_id": user_ids}))
        keys = base.sql("SELECT hash(user_id) AS key FROM wanted").to_arrow_table()["key"].to_numpy()
    return features.of(positions_in(known, keys))


def positions_in(known: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of `wanted` is in the sorted `known`; -1 where it is not."""
    if not len(known):
        return np.full(len(wanted), -1)
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[found] == wanted, found, -1)


def _read_sorted(lake: Lake, table: Table, version: int, columns: str, selected: str, where: str = "") -> pa.Table:
    rows = lake.stream(table, "true", (columns,), version)
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect(config={"temp_directory": scratch}) as base:
        base.register("described", rows)
        return base.sql(f"SELECT {selected} FROM described {where} ORDER BY key").to_arrow_table()


def _hashed(lists: pa.ChunkedArray) -> Features:
    """Lists of features; each distinct one is hashed once."""
    column = lists.combine_chunks()
    distinct = column.flatten().dictionary_encode()
    indptr = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))])
    hashes = hash_features(distinct.dictionary.to_pylist())
    return Features(indptr.astype(np.int64), hashes[distinct.indices.to_numpy()])
