"""nightloom.toml's `places.spark` -> a SparkSession: a client of the warm local server, or classic Spark.

`python -m spark_jobs.session start|stop` starts and stops the warm server, and with it the night's warm interpreter.
Stages use SQL and DataFrames only, so they run the same on both.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from nightloom.arguments import Arguments
from nightloom.contracts import BRONZE, INTERACTIONS, ITEMS
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.literals import spark_text
from nightloom.night import interpreter
from nightloom.places import files_below, place_at
from nightloom.settings import Settings, load
from nightloom.sql.marts import all_tables
from spark_jobs import server
from spark_jobs.cluster import check_folders, is_cluster, send_code
from spark_jobs.configuration import LAPTOP, configuration, environment
from spark_jobs.session_settings import configure
from spark_jobs.sizing import DataSize, cluster_settings, explanation

WARM = "warm"
SIZED = (INTERACTIONS, ITEMS)
HEAVY_BYTES = 32 << 20
"""A night with more bytes of new files is heavy: 1-2 million gzipped JSON events."""


def session(settings: Settings) -> SparkSession:
    """The session of this process. Raises SparkError: the Delta jars are missing, or a server has a wrong setting."""
    place = settings.places.spark
    home = settings.place("scratch")
    # By default Spark logs a wrong statement with plan and stack, before our own error of one line.
    PySparkLogger.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    if place.startswith("sc://"):
        server_session = SparkSession.builder.remote(place).getOrCreate()
        return _prepared(configure(server_session, place, str(settings.place("lake"))), settings)
    if place == WARM and (running := server.find(home)):
        return SparkSession.builder.remote(running.url).getOrCreate()
    classic = _classic_session(settings, LAPTOP if place == WARM else place)
    return _prepared(classic, settings) if is_cluster(place) else classic


def _classic_session(settings: Settings, master: str) -> SparkSession:
    """Classic Spark, whose driver is a child of this process."""
    home = settings.place("scratch")
    os.environ.update(environment(home, master, settings.spark.python))
    builder = SparkSession.builder.master(master).appName("nightloom")
    for key, value in _configuration(settings, master).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _configuration(settings: Settings, master: str, heavy: bool = False) -> dict[str, str]:
    """Spark's settings for a project, and on a cluster a line about those that follow from the size of its data."""
    given = settings.spark.settings
    sized: dict[str, str] = {}
    if is_cluster(master):
        size = _data_size(settings)
        sized = cluster_settings(size, _cores(given), settings.training.ranks or 2)
        print(f"spark: {explanation(size, sized | given)}")
    lake, databases = str(settings.place("lake")), any(source.format == "jdbc" for source in settings.sources)
    scratch = settings.place("scratch")
    return configuration(scratch, master, heavy, lake=lake, databases=databases, given=given, sized=sized)


def _cores(given: Mapping[str, str]) -> int:
    """Cores of an executor: Spark's default on Kubernetes and YARN is one; Spark refuses what is no number."""
    cores = given.get("spark.executor.cores", "1")
    return int(cores) if cores.isdigit() else 1


def _prepared(spark: SparkSession, settings: Settings) -> SparkSession:
    """A cluster's session, whose executors have our code and see the folders."""
    send_code(spark)
    lake = settings.place("lake")
    if isinstance(lake, Path):
        landing = [place_at(source.path, settings.root) for source in settings.sources if source.path]
        check_folders(spark, lake, [place for place in landing if isinstance(place, Path) and place.is_dir()])
    return spark


def _data_size(settings: Settings) -> DataSize:
    """What the lake holds, and the new files; a compressed one counts as it is, as silver is compressed, too."""
    lake = Lake(settings.place("lake"))
    logs = {table: pa.table(lake.open(table).get_add_actions(flatten=True)) for table in SIZED if lake.exists(table)}
    events = sum(logs[INTERACTIONS]["size_bytes"].to_pylist()) if INTERACTIONS in logs else 0
    items = sum(logs[ITEMS]["num_records"].to_pylist()) if ITEMS in logs else 0
    return DataSize(events + _new_bytes(settings), items)


def with_tables(spark: SparkSession, settings: Settings) -> SparkSession:
    """The session with the lake's tables under their names: `spark.sql("SELECT * FROM silver.items")`."""
    lake = Lake(settings.place("lake"))
    for table in all_tables(settings):
        if lake.exists(table):
            spark.sql(f"CREATE SCHEMA IF NOT EXISTS {table.layer}")
            place = spark_text(lake.path(table))
            spark.sql(f"CREATE TABLE IF NOT EXISTS {table.full_name} USING delta LOCATION {place}")
    return spark


def _is_heavy(settings: Settings) -> bool:
    """Whether the files that arrived since the last night are large."""
    return _new_bytes(settings) > HEAVY_BYTES


def _new_bytes(settings: Settings) -> int:
    """Bytes of the files that arrived since the last night. The size of a Kafka topic is not known."""
    lake = Lake(settings.place("lake"))
    commits = [lake.last_commit(table)["timestamp"] / 1000 for table in BRONZE.values() if lake.exists(table)]
    places = [place_at(source.path, settings.root) for source in settings.sources if source.path]
    files = [file for place in places for file in files_below(place)]
    return sum(file.bytes for file in files if file.modified > max(commits, default=0))


def main(argv: list[str] | None = None) -> None:
    """Start or stop the warm server and the warm interpreter; harmless when there is nothing to do."""
    parser = Arguments(prog="python -m spark_jobs.session", description=main.__doc__)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("--config", type=Path, help="nightloom.toml; default $NIGHTLOOM_CONFIG or the working folder's")
    arguments = parser.parse_args(argv)
    try:
        settings = load(arguments.config)
        if settings.places.spark != WARM:
            print(f"places.spark is {settings.places.spark}: there is no warm server to {arguments.action}")
            return
        home = settings.place("scratch")
        if arguments.action == "stop":
            print(f"{interpreter.stop()}\n{server.stop(home)}")
        else:
            print(interpreter.start())
            print(server.start(home, _configuration(settings, LAPTOP, _is_heavy(settings))))
    except NightloomError as error:
        print(f"spark_jobs.session: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
