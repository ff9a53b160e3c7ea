"""Delta's commits on S3: two Spark drivers and a delta-rs writer on one table at once; answers of S3 that go wrong."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS
from spark_jobs.configuration import configuration, environment
from tests.minio import Minio, minio
from tests.spark_jobs.s3_proxy import spoiling_proxy
from tests.spark_jobs.s3_writer import SMALL
from tests.spark_jobs.small_project import TOML, project

ROWS = {"driver-1": ("spark", 70), "driver-2": ("spark", 70), "delta-rs": ("delta-rs", 60)}
KILLED_AT = {"driver-1": (10, 40), "driver-2": (25,), "delta-rs": (15,)}
"""Writers are killed when they have begun these rows."""
SECONDS = 1_500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with minio(tmp_path_factory.mktemp("minio")) as running:
        yield running


@dataclass
class Writer:
    """A process of s3_writer.py that is started again after a kill."""

    name: str
    table: str
    log: Path
    kills: list[int] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        kind, rows = ROWS[self.name]
        words = [kind, self.name, self.table, str(len(self.begun) + 1), str(rows), str(self.log)]
        with self.log.with_suffix(".output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.spark_jobs.s3_writer", *words],
                cwd=Path(__file__).parents[2], stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def lines(self, what: str) -> list[int]:
        text = self.log.read_text() if self.log.exists() else ""
        return [int(line.split()[0]) for line in text.splitlines() if line.endswith(what)]

    @property
    def begun(self) -> list[int]:
        return self.lines("begun")

    @property
    def done(self) -> list[int]:
        return self.lines("done")

    def ended(self) -> bool:
        """Whether all rows are written; kills the process, and starts another, when its moment has come."""
        assert self.process
        if self.kills and len(self.begun) >= self.kills[0]:
            self.kills.pop(0)
            self.kill()
            self.start()
        if (code := self.process.poll()) is not None:
            assert code == 0, self.log.with_suffix(".output").read_text()[-5000:]
        return code == 0

    def kill(self) -> None:
        """End the process and its JVM in the middle of what they do."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.mark.slow  # three minutes; test_a_lost_answer... is the small case
def test_of_200_commits_by_two_drivers_and_delta_rs_none_is_lost_and_none_doubled(
    server: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    table = f"{server.make_bucket('race')}/lake/silver/rows"
    rows_of = pa.schema([("writer", pa.string()), ("number", pa.int32())])
    DeltaTable.create(table, rows_of)
    writers = [Writer(name, table, tmp_path / name, list(KILLED_AT[name])) for name in ROWS]
    deadline = time.monotonic() + SECONDS
    try:
        for writer in writers:
            writer.start()
        while not all([writer.ended() for writer in writers]):
            assert time.monotonic() < deadline, {writer.name: len(writer.done) for writer in writers}
            time.sleep(0.02)
    finally:
        for writer in writers:
            writer.kill()
    found = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT writer, number FROM t").read_all()
    rows = Counter(zip(*(found.column(name).to_pylist() for name in ("writer", "number")), strict=True))
    done = {(writer.name, number) for writer in writers for number in writer.done}
    begun = {(writer.name, number) for writer in writers for number in writer.begun}
    assert set(rows.values()) == {1}
    assert done - rows.keys() == set()
    assert rows.keys() - begun == set()
    assert len(begun) == 200
    assert len(begun - done) <= sum(map(len, KILLED_AT.values()))
    assert DeltaTable(table).version() == len(rows)


@pytest.fixture(scope="module")
def spoiled(server: Minio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SparkSession, str]]:
    """Spark, whose way to S3 goes through a proxy that spoils requests; the variables of S3 are set."""
    home = tmp_path_factory.mktemp("spark-home")
    with pytest.MonkeyPatch.context() as patch, spoiling_proxy(server.address) as proxy:
        for name, value in (server.environment | environment(home)).items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{proxy}")
        builder = SparkSession.builder.master("local[1]")
        for key, value in configuration(home, "local[1]", lake="s3://x", given=SMALL).items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        yield session, server.make_bucket("faults")
        session.stop()


def commit(spark: SparkSession, path: str, text: str) -> str:
    """Write a commit of one line by the LogStore -> the simple name of the Java exception, if any."""
    jvm = spark._jvm
    assert jvm
    hadoop = spark._jsparkSession.sessionState().newHadoopConf()
    store = jvm.nightloom.S3LogStore(hadoop)
    lines = jvm.java.util.ArrayList()
    lines.add(text)
    try:
        store.write(jvm.org.apache.hadoop.fs.Path(path), lines.iterator(), False, hadoop)
    except Exception as error:
        java = error.java_exception  # type: ignore[attr-defined]
        return f"{java.getClass().getSimpleName()}: {java.getMessage()}"
    return ""


@pytest.mark.slow
def test_a_second_writer_of_a_version_is_refused_and_the_first_one_stays(spoiled: tuple[SparkSession, str]) -> None:
    spark, bucket = spoiled
    assert commit(spark, f"{bucket}/a/_delta_log/0.json", "first") == ""
    assert commit(spark, f"{bucket}/a/_delta_log/0.json", "second").startswith("FileAlreadyExistsException")
    assert [row.value for row in spark.read.text(f"{bucket}/a/_delta_log/0.json").collect()] == ["first"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lost", "conflict"])
def test_a_lost_answer_and_a_conflict_are_asked_again_and_are_no_lost_race(
    spoiled: tuple[SparkSession, str], fault: str
) -> None:
    spark, bucket = spoiled
    assert commit(spark, f"{bucket}/b/_delta_log/{fault}.json", "ours") == ""
    assert commit(spark, f"{bucket}/b/_delta_log/{fault}.json", "theirs").startswith("FileAlreadyExistsException")


@pytest.mark.slow
def test_a_store_that_ignores_the_condition_is_refused_before_the_first_commit(
    server: Minio, spoiled: tuple[SparkSession, str]
) -> None:
    spark, _ = spoiled
    bucket = server.make_bucket("deaf")
    assert "deaf ignores If-None-Match" in commit(spark, f"{bucket}/c/_delta_log/0.json", "first")


@pytest.mark.slow
def test_a_table_is_made_where_a_run_that_was_killed_left_folders_without_a_commit(
    server: Minio, spoiled: tuple[SparkSession, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.address}")  # the proxy is for Spark alone
    bucket = server.make_bucket("killed")
    server.make_bucket("killed/lake/bronze/events/_delta_log/_staged_commits")
    lake = TOML.replace("[places]\n", f'[places]\nlake = "{bucket}/lake"\n')
    night = project(tmp_path, spoiled[0], lake).night()
    night.create(BRONZE_EVENTS)
    assert night.frame(BRONZE_EVENTS).count() == 0
    configured = night.lake.open(BRONZE_EVENTS).metadata().configuration
    assert {f"delta.constraints.{name}" for name, _ in BRONZE_EVENTS.checks} <= configured.keys()
