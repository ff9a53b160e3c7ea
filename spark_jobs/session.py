"""nightloom.toml's `places.spark` -> a SparkSession: a client of the warm local server, or classic Spark.

`python -m spark_jobs.session start|stop` starts and stops the warm server. Stages use SQL and DataFrames only, so they
run the same on both.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from nightloom.arguments import Arguments
from nightloom.contracts import BRONZE
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.literals import spark_text
from nightloom.settings import Settings, load
from nightloom.sql.marts import all_tables
from spark_jobs import server
from spark_jobs.configuration import LAPTOP, configuration, environment
from spark_jobs.session_settings import configure

WARM = "warm"
HEAVY_BYTES = 32 << 20
"""A night with more bytes of new files is heavy: 1-2 million gzipped JSON events."""


def session(settings: Settings) -> SparkSession:
    """The session of this process. Raises SparkError: the Delta jars are missing, or a server has a wrong setting."""
    place = settings.places.spark
    home = settings.place("scratch")
    # By default Spark logs a wrong statement with plan and stack, before our own error of one line.
    PySparkLogger.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    if place.startswith("sc://"):
        return configure(SparkSession.builder.remote(place).getOrCreate(), place)
    if place == WARM and (running := server.find(home)):
        return SparkSession.builder.remote(running.url).getOrCreate()
    return _classic_session(home, LAPTOP if place == WARM else place)


def _classic_session(home: Path, master: str) -> SparkSession:
    """Classic Spark, whose driver is a child of this process."""
    os.environ.update(environment(home))
    builder = SparkSession.builder.master(master).appName("nightloom")
    for key, value in configuration(home, master).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


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
    """Whether the files that arrived since the last night are large. The size of a Kafka topic is not known."""
    lake = Lake(settings.place("lake"))
    commits = [lake.last_commit(table)["timestamp"] / 1000 for table in BRONZE.values() if lake.exists(table)]
    folders = [settings.root / source.path for source in settings.sources if source.path]
    files = [file.stat() for folder in folders for file in folder.rglob("*") if file.is_file()]
    return sum(file.st_size for file in files if file.st_mtime > max(commits, default=0)) > HEAVY_BYTES


def main(argv: list[str] | None = None) -> None:
    """Start or stop the warm server; harmless when there is nothing to do."""
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
            print(server.stop(home))
        else:
            print(server.start(home, configuration(home, LAPTOP, _is_heavy(settings))))
    except NightloomError as error:
        print(f"spark_jobs.session: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
