"""[spark]: the executors' Python, and settings that go to Spark as they are."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, field_validator

from nightloom.section import Section

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
"""Results depend on these; a session may change them."""
STATIC = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""Results depend on these; only the start of Spark can set them. A value is one word of a list with commas."""
S3_LOG_STORE = {f"spark.delta.logStore.{scheme}.impl": "nightloom.S3LogStore" for scheme in ("s3", "s3a")}
"""For a lake on S3, at the start of Spark: by Delta's own class two drivers, or a driver and another writer, overwrite
each other's commits. The class is spark_jobs/java/nightloom/S3LogStore.java."""
ELSEWHERE = {"spark.master": "places.spark", "spark.pyspark.python": "spark.python"}
"""A setting of Spark -> the key of nightloom.toml that gives it."""
SECRET = re.compile(r"secret|password|access\.key|token(?!provider)|credential(?!s\.provider)", re.IGNORECASE)


class Spark(Section):
    """How Spark runs. What a night gives does not depend on it."""

    python: str | None = None
    """Python of a cluster's executors, with the packages of requirements.lock: a path on their machines, or in their
    image. The default is the path of the Python that runs the stage. Our own code is sent to them."""
    settings: dict[str, str] = Field({})
    """Settings of Spark, such as `"spark.executor.memory" = "8g"`: they override ours, except for those that results
    depend on. Secrets belong into the environment. See [Spark on a cluster](cluster.md)."""

    @field_validator("settings", mode="before")
    @classmethod
    def _flat(cls, given: Any) -> Any:
        """TOML reads a key without quotes as tables in tables, and numbers and booleans as such."""
        return dict(_flattened(given, "")) if isinstance(given, Mapping) else given


def _flattened(given: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{path}{name}.")
        else:
            yield path + name, str(value).lower() if isinstance(value, bool) else str(value)


def find_wrong_settings(spark: Spark) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it) of the settings that cannot be passed on."""
    for key, value in spark.settings.items():
        if not re.fullmatch(r"spark\.[\w.-]*\w", key):
            yield key, f"found '{key}', expected the name of a setting of Spark, which begins with 'spark.'"
        elif (ours := (SESSION | STATIC | S3_LOG_STORE).get(key)) is not None:
            yield key, f"found '{value}'; results depend on it, and it is always '{ours}': take it out"
        elif key in ELSEWHERE:
            yield key, f"take it out: {ELSEWHERE[key]} says it"
        elif SECRET.search(key):
            yield key, "may be a secret, which never stands in the file: give it by the environment, and take it out"
