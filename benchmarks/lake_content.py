"""Prints as JSON what a project's tables and its served lists hold: name -> rows.

Columns that say which run wrote a row, and when, are left out. benchmarks/container_faults.py runs it in a container,
and compares two contents by different_tables().
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nightloom import settings as settings_module
from nightloom.contracts import TABLES
from nightloom.lake import Lake
from serving.stores import open_store
from serving.stores.reader import Reader

OF_THE_RUN = {
    "row_id", "file", "file_modified_at", "ingested_at", "generated_at", "run_id", "updated_at", "published_at",
    "quarantined_at", "checked_at", "model_version",
}  # fmt: skip
TOLERANCE = 1e-4
"""Sums of floats differ in their last digits with the order in which Spark and ranks add."""
Row = dict[str, Any]


def main() -> None:
    settings = settings_module.load()
    lake, found = Lake(settings.place("lake")), {}
    for table in TABLES:
        if table.layer != "ops" and lake.exists(table):
            names = [f'"{name}"' for name in table.column_names if name not in OF_THE_RUN]
            found[table.full_name] = lake.rows(table, columns=names).to_pylist()
    served = map(json.loads, Reader(open_store(settings)).current().values("users"))
    found["served lists"] = [{name: row[name] for name in ("user", "items", "scores")} for row in served]
    print(json.dumps(found, default=str))


def different_tables(one: Mapping[str, Sequence[Row]], other: Mapping[str, Sequence[Row]]) -> list[str]:
    """Names of what is not the same in two contents, apart from rounding."""
    return sorted(name for name in one.keys() | other.keys() if not _same_rows(one.get(name), other.get(name)))


def _same_rows(one: Sequence[Row] | None, other: Sequence[Row] | None) -> bool:
    if one is None or other is None or len(one) != len(other):
        return False
    pairs = zip(sorted(one, key=_without_numbers), sorted(other, key=_without_numbers), strict=True)
    return all(_same_row(*pair) for pair in pairs)


def _same_row(one: Row, other: Row) -> bool:
    if _without_numbers(one)[0] != _without_numbers(other)[0]:
        return False
    if "scores" in one and not _same_list(one, other):
        return False
    return _all_close(_numbers(one), _numbers(other))


def _same_list(one: Row, other: Row) -> bool:
    """Whether two lists are equal but for items whose scores are equal: these may have another order."""
    if not _all_close(one["scores"], other["scores"]):
        return False
    last = min([*one["scores"], *other["scores"]], default=0.0)
    scores, others = (dict(zip(row["items"], row["scores"], strict=True)) for row in (one, other))
    return all(_close(scores.get(item, last), others.get(item, last)) for item in scores.keys() | others.keys())


def _without_numbers(row: Row) -> tuple[str, list[float]]:
    """What a row is found by: its content without floats and without a scored list; then its floats."""
    kept = {name: value for name, value in row.items() if "scores" not in row or name not in ("items", "scores")}
    return json.dumps(_masked(kept), sort_keys=True, default=str), _numbers(row)


def _masked(value: object) -> object:
    if isinstance(value, float):
        return None
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return {name: _masked(each) for name, each in value.items()} if isinstance(value, dict) else value


def _numbers(value: object) -> list[float]:
    if isinstance(value, float):
        return [value]
    if isinstance(value, dict):
        return _numbers([value[name] for name in sorted(value) if name != "scores"])
    return [number for each in value for number in _numbers(each)] if isinstance(value, list) else []


def _all_close(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(map(_close, one, other))


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))


if __name__ == "__main__":
    main()
