"""Tables whose files DuckDB reads by itself: without deletion vectors, and refused where somebody switched them on."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import ITEMS
from nightloom.errors import DataError
from nightloom.lake import Lake
from tests.spark_jobs.small_project import NOON, D, project


def row(n: int) -> dict[str, Any]:
    item = {"item_id": f"i{n}", "title": f"Item {n}", "categories": [], "attributes": [], "available": True}
    return item | {"updated_at": NOON, "row_id": "0" * 64, "night": D}


def from_files(lake: Lake) -> list[str]:
    """Item ids as the store's rows are read."""
    return sorted(item for (item,) in duckdb.read_parquet(lake.files(ITEMS)).project("item_id").fetchall())


@pytest.mark.parametrize("creator", ["delta-rs", "Spark"])
def test_a_table_with_deletion_vectors_is_never_read_wrong(
    spark: SparkSession, tmp_path: Path, quick: None, creator: str
) -> None:
    at = project(tmp_path, spark)
    lake, table = at.night().lake, f"delta.`{at.night().lake.path(ITEMS)}`"
    if creator == "Spark":
        spark.conf.set("spark.databricks.delta.properties.defaults.enableDeletionVectors", "true")
        try:
            at.night().create(ITEMS)
        finally:
            spark.conf.unset("spark.databricks.delta.properties.defaults.enableDeletionVectors")
    lake.append(ITEMS, [row(1), row(2), row(3)])
    spark.sql(f"DELETE FROM {table} WHERE item_id = 'i1'")
    assert from_files(lake) == ["i2", "i3"]
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {table} WHERE item_id = 'i2'")
    assert lake.rows(ITEMS, columns=["item_id"]).to_pylist() == [{"item_id": "i3"}]
    with pytest.raises(DataError, match=r"silver\.items: 1 files have deletion vectors, expected none") as error:
        from_files(lake)
    for statement in re.findall(r"ALTER TABLE .*?\)|REORG TABLE .*", str(error.value)):
        spark.sql(statement)
    assert from_files(lake) == ["i3"]
