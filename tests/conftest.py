"""The one Spark session of a test run, and which tests share a worker."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = {
    "tests/dags/": "dags",
    "tests/spark_jobs/test_bronze_killed.py": "stages",
    "tests/spark_jobs/test_kafka.py": "stages",
    "tests/spark_jobs/test_killed_stages.py": "stages",
    "tests/spark_jobs/test_terminated.py": "stages",
    "tests/spark_jobs/": "spark",
    "tests/serving/test_rule_attribution.py": "attribution",
    "tests/serving/test_console": "console",
    "tests/serving/test_explanations.py": "explanations",
    "tests/serving/test_requests.py": "requests",
    "tests/serving/test_stores.py": "servers",
    "tests/serving/test_hammer.py": "servers",
    "tests/nightloom/test_night.py": "airflow",
    "tests/nightloom/test_backfill.py": "airflow",
    "tests/nightloom/test_remote_airflow.py": "airflow",
    "tests/test_demo.py": "airflow",
    "tests/test_drafted_nights.py": "airflow",
    "tests/test_first_night.py": "airflow",
    "tests/test_hostile_night.py": "hostile night",
    "tests/test_one_file_additions.py": "additions",
    "tests/test_tutorial.py": "airflow",
}
"""Start of a test's id, the first that fits -> its group: one worker runs a group, for it shares one JVM or model."""


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of a group go to one worker, every other test for itself.

    xdist's own loadgroup writes the group into the test's id, which pytest 9.2 no longer lets it do (xdist 3.8.0).
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((group for start, group in TOGETHER.items() if nodeid.startswith(start)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    return ByGroup(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Spark with Delta inside this process, two cores, set up as a laptop's night sets it up."""
    from spark_jobs.configuration import configuration, environment

    home = tmp_path_factory.mktemp("spark-home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(home).items():
            patch.setenv(name, value)
        builder = SparkSession.builder.master("local[2]").appName("tests")
        for key, value in configuration(home, "local[2]", databases=True).items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        yield session
        session.stop()
