"""The rows of a Delta table that are new or changed since a version.

By its change feed where the table has one: the rows that were inserted, and those that were changed, as they are now.
Else by its files: the rows of each file that a version has and an earlier one has not. A changed file is read whole, as
a landing file is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.errors import DataError
from nightloom.literals import spark_name
from nightloom.places import place_at
from nightloom.settings import Source
from spark_jobs.context import SparkNight
from spark_jobs.table_reads import EVER, MODIFIED, NewRows, Reads, check_columns

CHANGES = "delta.enableChangeDataFeed"
FILE_TIME = "_metadata.file_modification_time"
REMOVED = r"FileNotFound|FILE_NOT_(EXIST|FOUND)|CHANGE_DATA_FILE|MISSING_CHANGE_DATA|NoSuchKey"
"""What Spark says where VACUUM has removed the files of a version."""


def new_rows(night: SparkNight, source: Source, reads: Reads) -> NewRows | None:
    """The rows since the last read. Raises DataError: no table, a missing column, a version that is gone."""
    path = str(place_at(source.path or "", night.settings.root))
    if not DeltaTable.is_deltatable(path):
        raise DataError(f"source '{source.name}': there is no Delta table in {path}; mend the source's `path`")
    table = DeltaTable(path)
    check_columns(source, list(source.fields), [field.name for field in table.schema().fields])
    id, newest = str(table.metadata().id), table.version()
    if (last := reads.last_of(id)) is None:
        rows = _at_version(night, source, path, newest)
        return NewRows(rows, id, str(newest), EVER if reads.notes else None)
    if (since := int(last.until)) == newest:
        return None
    earlier = _earlier(source, path, since)
    files, before = set(table.file_uris()), set(earlier.file_uris())
    again = EVER if before - files else None  # not only appended: a change may leave the declared fields as they were
    if all(each.metadata().configuration.get(CHANGES) == "true" for each in (earlier, table)):
        return NewRows(_changes(night, source, path, since + 1, newest), id, str(newest), again)
    # Delta names files by ids, so the name alone tells them apart; Spark writes the rest of an address in its own way.
    names = [re.split("/", uri)[-1] for uri in files - before]
    return NewRows(_at_version(night, source, path, newest, names), id, str(newest), again)


def _at_version(
    night: SparkNight, source: Source, path: str, version: int, files: Sequence[str] | None = None
) -> DataFrame:
    """The rows of a version, or of its files of these names."""
    rows = night.spark.read.format("delta").option("versionAsOf", str(version)).load(path)
    if files is not None:  # no column can be made before the line above: it may start this process's Spark
        rows = rows.where(F.element_at(F.split("_metadata.file_path", "/"), -1).isin([*files]))
    return _fields(rows, source, FILE_TIME)


def _changes(night: SparkNight, source: Source, path: str, first: int, last: int) -> DataFrame:
    feed = night.spark.read.format("delta").option("readChangeFeed", "true")
    rows = feed.option("startingVersion", str(first)).option("endingVersion", str(last)).load(path)
    return _fields(rows.where("_change_type IN ('insert', 'update_postimage')"), source, "_commit_timestamp")


def _fields(rows: DataFrame, source: Source, modified: str) -> DataFrame:
    return rows.select(*map(spark_name, source.fields), F.col(modified).alias(MODIFIED))


def _earlier(source: Source, path: str, version: int) -> DeltaTable:
    try:
        return DeltaTable(path, version=version)
    except (DeltaError, ValueError) as error:
        raise _is_gone(source, f"version {version} cannot be read any more ({str(error).splitlines()[0]})") from None


def translate_error(source: Source, message: str) -> DataError | None:
    """The error of a read with its causes, as one of ours; None where it is not about removed files."""
    if re.search(REMOVED, message):
        return _is_gone(source, "files of the versions since the last read were removed (VACUUM)")
    return None


def _is_gone(source: Source, what: str) -> DataError:
    return DataError(
        f"source '{source.name}': {what}, so rows that came and went since then are lost. Nothing more is read until "
        f"somebody accepts that and reads the table as it is now: run this once with --accept-loss {source.name}"
    )
