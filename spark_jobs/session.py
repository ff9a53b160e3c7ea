"""nightloom.toml's `places.spark` -> a SparkSession: a client of the warm local server, or Spark inside this process.

`python -m spark_jobs.session start|stop` starts and stops the warm server. Stages run the same on both: SQL and
DataFrames only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from nightloom.errors import NightloomError
from nightloom.settings import Settings, load
from spark_jobs import server

WARM = "warm"


def session(settings: Settings) -> SparkSession:
    """The session of this process. Raises SparkError when the Delta jars are not there."""
    place = settings.places.spark
    home = settings.place("home")
    if place.startswith("sc://"):
        return SparkSession.builder.remote(place).getOrCreate()
    if place == WARM and (running := server.find(home)):
        return SparkSession.builder.remote(running.url).getOrCreate()
    return _inside(home, server.LAPTOP if place == WARM else place)


def _inside(home: Path, master: str) -> SparkSession:
    """Classic Spark, its driver a child of this process."""
    os.environ.update(server.environment(home))
    builder = SparkSession.builder.master(master).appName("nightloom")
    for key, value in server.configuration(home, master).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def main(argv: list[str] | None = None) -> None:
    """Start or stop the warm server; either is harmless when there is nothing to do."""
    parser = argparse.ArgumentParser(prog="python -m spark_jobs.session", description=main.__doc__)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("--config", type=Path, help="nightloom.toml; default $NIGHTLOOM_CONFIG or the working folder's")
    arguments = parser.parse_args(argv)
    try:
        settings = load(arguments.config)
        if settings.places.spark != WARM:
            print(f"places.spark is {settings.places.spark}: there is no warm server to {arguments.action}")
            return
        print((server.start if arguments.action == "start" else server.stop)(settings.place("home")))
    except NightloomError as error:
        print(f"spark_jobs.session: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
