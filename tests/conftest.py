"""The one Spark session of a test worker; every test that asks for it runs on the same worker."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession


@pytest.hookimpl(tryfirst=True)  # before xdist sorts the tests by their group
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("spark"))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Spark with Delta inside this process, two cores, set up as a laptop's night sets it up."""
    from spark_jobs import server

    home = tmp_path_factory.mktemp("spark-home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment(home).items():
            patch.setenv(name, value)
        builder = SparkSession.builder.master("local[2]").appName("tests")
        for key, value in server.configuration(home, "local[2]").items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        yield session
        session.stop()
