"""The two-day lake, built once for all tests that only read it; and Spark without its compiler, for tiny statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.readers.record import Record
from tests.spark_jobs.landing_records import TEXTS, Read, records
from tests.spark_jobs.small_project import Project
from tests.spark_jobs.two_day_lake import two_days

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""For a handful of rows, running a plan step by step takes less time than compiling it."""


@contextmanager
def interpreted(spark: SparkSession) -> Iterator[None]:
    for name, value in INTERPRETED.items():
        spark.conf.set(name, value)
    yield
    for name in INTERPRETED:
        spark.conf.unset(name)


@pytest.fixture(scope="session")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Project:
    with interpreted(spark):
        return two_days(tmp_path_factory.mktemp("marts"), spark)


@pytest.fixture(scope="module")
def quick(spark: SparkSession) -> Iterator[None]:
    """Spark without its compiler for a module's tests."""
    with interpreted(spark):
        yield


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A function: content and layout of a landing file -> its records."""

    def read(content: str | bytes, format: str, fields: dict[str, str] = TEXTS, **layout: Any) -> list[Record]:
        (tmp_path / "a").write_bytes(content if isinstance(content, bytes) else content.encode())
        return records(tmp_path / "a", format, fields, **layout)

    return read
