"""The Spark settings that results depend on: set in each session that we start, set or checked in one of a server.

Spark's other settings change how long a night takes, and not what it gives.
"""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from nightloom.errors import NightloomError

SESSION = {
    "spark.sql.session.timeZone": "UTC",
    # One bad value must not end a night: a failed cast gives NULL, and the row's checks report it.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.caseSensitive": "false",
    "spark.sql.storeAssignmentPolicy": "ANSI",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.ansi.doubleQuotedIdentifiers": "false",
    "spark.sql.sources.partitionOverwriteMode": "STATIC",
    "spark.databricks.delta.schema.autoMerge.enabled": "false",
    # Other programs read a table's files by themselves: see nightloom/lake/delta.py.
    "spark.databricks.delta.properties.defaults.columnMapping.mode": "none",
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
}
"""A session may change them."""
STATIC = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""Only the start of Spark can set them; a value is one word of a list with commas."""


class SparkError(NightloomError):
    """Spark cannot start, or its requirements are missing."""


def configure(spark: SparkSession, place: str) -> SparkSession:
    """The session of a server that somebody else started, with our settings. Raises SparkError that names a setting."""
    for key, value in SESSION.items():
        try:
            spark.conf.set(key, value)
            found = spark.conf.get(key)
        except PySparkException as error:
            raise _wrong(place, key, f"cannot be changed ({_first_line(error)})", value) from None
        if found != value:
            raise _wrong(place, key, f"is '{found}'", value)
    for key, value in STATIC.items():
        found = spark.conf.get(key, "") or ""
        if value not in [word.strip() for word in found.split(",")]:
            raise _wrong(place, key, f"is '{found}'", value)
    return spark


def _wrong(place: str, key: str, found: str, expected: str) -> SparkError:
    return SparkError(
        f"places.spark is {place.split('/;')[0]}: {key} {found}, expected '{expected}'; results depend on it; "
        f"start that server with --conf {key}={expected}"
    )


def _first_line(error: PySparkException) -> str:
    return (error.getMessage() or str(error)).strip().split("\n")[0]
