"""The settings and variables that Spark starts with, the same for the warm server and for classic Spark."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from spark_jobs import session_settings
from spark_jobs.session_settings import SparkError

LAPTOP = "local[*]"


def configuration(home: Path, master: str, heavy: bool = False) -> dict[str, str]:
    """Spark's settings; `heavy` tunes a laptop's for millions of rows instead of for a quick start."""
    jars = extra_jars()
    shared = (
        session_settings.STATIC
        | session_settings.SESSION
        | {
            "spark.sql.catalogImplementation": "in-memory",
            "spark.sql.warehouse.dir": str(home / "spark" / "warehouse"),
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            # Stages share loaded classes and compiled code: no stage has jars of its own.
            "spark.sql.artifact.isolation.enabled": "false",
            # Spark overestimates a night's few new rows (it counts all columns), so they exceed the default of 10 MB.
            "spark.sql.autoBroadcastJoinThreshold": str(64 << 20),
            # Choosing a compression for each column takes a quarter of a silver stage's CPU time.
            "spark.sql.inMemoryColumnarStorage.compressed": "false",
            # Plans share generated classes; with the default of 100 a night takes a twentieth longer (measured).
            "spark.sql.codegen.cache.maxEntries": "2000",
            # A text on which a regular expression overflows the stack fails its task, and not the process of all tasks.
            "spark.executor.killOnFatalError.depth": "0",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "WARN",
        }
    )
    if not master.startswith("local"):
        return shared | {"spark.jars": ",".join(jars)}
    return shared | {
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.driver.extraJavaOptions": " ".join(_java_options(heavy)),
        "spark.driver.memory": "5g" if heavy else "3g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        # The defaults are for large tables: they read a tiny Delta log in 50 tasks and list a folder in 10,000.
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    }


def environment(home: Path) -> dict[str, str]:
    """Variables for Spark's own processes: this interpreter, and the folder of our packages."""
    here = str(Path(__file__).parents[1])
    path = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(home / "spark" / "tmp"),
    }


def extra_jars() -> list[str]:
    """Delta's and Kafka's jars in the interpreter's folder, in the order that the class-data archive requires."""
    folder = Path(sys.prefix) / "spark-jars"
    jars = sorted(str(jar) for jar in folder.glob("*.jar"))
    if not jars:
        raise SparkError(f"no jars in {folder}; `./run setup` puts them there")
    return jars


def _java_options(heavy: bool) -> list[str]:
    """For a laptop's short night: the first compiler only, the simplest collector, classes from an archive if any.

    Measured: on a million rows the second compiler needs half the CPU time of the first, on few rows twice as much. On
    ten million rows a single-threaded collector takes a fifth of the silver stage's time, and compiling cold code a
    tenth.
    """
    archive = Path(sys.prefix) / "spark.jsa"
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    many = ["-XX:+UseParallelGC", "-XX:CompileThresholdScaling=8"]
    # With one compiler Java reserves only 48 MB for compiled code; a night of many stages must never fill it.
    options = ["-XX:ReservedCodeCacheSize=256m", *(many if heavy else quick)]
    return [*options, _java_option("-XX:SharedArchiveFile", archive)] if archive.exists() else options


def _java_option(name: str, path: Path) -> str:
    """An option with a path, which may hold blanks and quotes, as Spark's launcher splits options."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'
