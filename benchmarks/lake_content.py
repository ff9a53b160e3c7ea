"""Prints as JSON what a project's tables and its served lists hold: name -> rows, sorted.

Columns that say when a row was written are left out, and scores are rounded: sums of floats differ in their last digits
with the order in which Spark adds. benchmarks/container_faults.py runs it in a container.
"""

import json
from typing import Any

from nightloom import settings as settings_module
from nightloom.contracts import TABLES
from nightloom.lake import Lake
from serving.stores import open_store
from serving.stores.reader import Reader

OF_THE_RUN = {
    "row_id", "file", "file_modified_at", "ingested_at", "generated_at", "run_id", "updated_at", "published_at",
    "quarantined_at", "checked_at",
}  # fmt: skip
DIGITS = 4


def main() -> None:
    settings = settings_module.load()
    lake, found = Lake(settings.place("lake")), {}
    for table in TABLES:
        if table.layer != "ops" and lake.exists(table):
            names = [f'"{name}"' for name in table.column_names if name not in OF_THE_RUN]
            found[table.full_name] = as_text(lake.rows(table, columns=names).to_pylist())
    served = map(json.loads, Reader(open_store(settings)).current().values("users"))
    found["served lists"] = as_text([[row["user"], row["items"], row["scores"]] for row in served])
    print(json.dumps(found))


def as_text(rows: list[Any]) -> list[str]:
    return sorted(json.dumps(rounded(row), sort_keys=True, default=str) for row in rows)


def rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {name: rounded(each) for name, each in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    main()
