"""The Spark settings that results depend on: set in each session that we start, set or checked in one of a server.

Spark's other settings change how long a night takes, and not what it gives.
"""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from nightloom.errors import NightloomError
from nightloom.settings.spark import S3_LOG_STORE, SESSION, STATIC


class SparkError(NightloomError):
    """Spark cannot start, or its requirements are missing."""


def is_on_s3(lake: str) -> bool:
    """Whether a lake's address is one of S3 or of a store with its interface."""
    return lake.startswith(("s3://", "s3a://"))


def configure(spark: SparkSession, place: str, lake: str) -> SparkSession:
    """The session of a server that somebody else started, with our settings. Raises SparkError that names a setting."""
    for key, value in SESSION.items():
        try:
            spark.conf.set(key, value)
            found = spark.conf.get(key)
        except PySparkException as error:
            raise _wrong(place, key, f"cannot be changed ({_first_line(error)})", value) from None
        if found != value:
            raise _wrong(place, key, f"is '{found}'", value)
    for key, value in (STATIC | (S3_LOG_STORE if is_on_s3(lake) else {})).items():
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
