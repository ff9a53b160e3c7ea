"""The settings and variables that Spark starts with, the same for the warm server and for classic Spark."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nightloom.settings.spark import S3_LOG_STORE, SESSION, STATIC
from spark_jobs.cluster import driver_address, is_cluster
from spark_jobs.object_storage import s3_settings
from spark_jobs.session_settings import SparkError, is_on_s3

LAPTOP = "local[*]"
IMAGES = {"spark.kubernetes.container.image", "spark.kubernetes.executor.container.image"}


def configuration(
    home: Path,
    master: str,
    heavy: bool = False,
    *,
    lake: str = "",
    databases: bool = False,
    given: Mapping[str, str] = MappingProxyType({}),
    sized: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Spark's settings for a lake at an address. Raises SparkError where jars are missing.

    `heavy` tunes a laptop's for millions of rows, not for a quick start. `sized` are a cluster's, by the size of the
    data (sizing.py). `databases` adds their drivers. `given` are those of nightloom.toml, which override the others.
    """
    on_s3 = is_on_s3(lake)
    jars = [*extra_jars(), *(s3_jars() if on_s3 else [])]
    shared = (
        STATIC
        | SESSION
        | ((S3_LOG_STORE | s3_settings()) if on_s3 else {})
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
    own = _cluster(master, jars, given) if is_cluster(master) else _laptop(jars, heavy, archive=not on_s3)
    if databases:  # not on the class path, which the archive of classes has to fit
        own["spark.jars"] = ",".join([*filter(None, [own.get("spark.jars")]), *jdbc_jars()])
    return {**shared, **own, **sized, **given}


def _laptop(jars: Sequence[str], heavy: bool, archive: bool) -> dict[str, str]:
    return {
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.driver.extraJavaOptions": " ".join(_java_options(heavy, archive)),
        "spark.driver.memory": "4g" if heavy else "3g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        # The defaults are for large tables: they read a tiny Delta log in 50 tasks and list a folder in 10,000.
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    }


def _cluster(master: str, jars: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The driver's address, and the way of the jars: by the driver, unless nightloom.toml says where executors have
    them."""
    if master.startswith("k8s://") and not IMAGES & given.keys():
        raise SparkError(
            f"places.spark is {master}, and nothing says which image executors have; set "
            '"spark.kubernetes.container.image" in [spark.settings]'
        )
    if master == "yarn" and not {"HADOOP_CONF_DIR", "YARN_CONF_DIR"} & os.environ.keys():
        raise SparkError("places.spark is yarn, and HADOOP_CONF_DIR does not say where Hadoop's settings are; set it")
    way = "spark.driver.extraClassPath" if "spark.executor.extraClassPath" in given else "spark.jars"
    address = None if "spark.driver.host" in given else driver_address(master)
    host = {"spark.driver.host": address, "spark.driver.bindAddress": address} if address else {}
    return {way: (":" if way.endswith("ClassPath") else ",").join(jars), "spark.driver.memory": "2g", **host}


def environment(home: Path, master: str = LAPTOP, python: str | None = None) -> dict[str, str]:
    """Variables for Spark's own processes: the workers' interpreter, and the folder of our packages."""
    here = str(Path(__file__).parents[1])
    path = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYSPARK_PYTHON": (python if is_cluster(master) else None) or sys.executable,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "SPARK_LOCAL_DIRS": str(home / "spark" / "tmp"),
        **({} if is_cluster(master) else {"SPARK_LOCAL_IP": "127.0.0.1"}),
    }


def extra_jars() -> list[str]:
    """Delta's and Kafka's jars in the interpreter's folder, in the order that the class-data archive requires."""
    folder = Path(sys.prefix) / "spark-jars"
    jars = sorted(str(jar) for jar in folder.glob("*.jar"))
    if not jars:
        raise SparkError(f"no jars in {folder}; `./run setup` puts them there")
    return jars


def s3_jars() -> list[str]:
    """Hadoop's client of S3, and our own class for Delta's commits there."""
    folder = Path(sys.prefix) / "s3-jars"
    if not (folder / "nightloom-s3-log-store.jar").is_file():
        raise SparkError(f"the lake is on S3, and {folder} has no jars for it; `./run setup s3` puts them there")
    return sorted(str(jar) for jar in folder.glob("*.jar"))


def jdbc_jars() -> list[str]:
    """The drivers of databases."""
    folder = Path(sys.prefix) / "jdbc-jars"
    jars = sorted(str(jar) for jar in folder.glob("*.jar"))
    if not jars:
        raise SparkError(f"a source is a database, and no drivers are in {folder}; `./run setup` puts them there")
    return jars


def _java_options(heavy: bool, archive: bool) -> list[str]:
    """For a laptop's short night: the first compiler only, the simplest collector, classes from an archive if any.

    The archive fits one class path: that without the jars of S3.

    Measured: on a million rows the second compiler needs half the CPU time of the first, on few rows twice as much. On
    ten million rows a single-threaded collector takes a fifth of the silver stage's time, and compiling cold code a
    tenth.
    """
    file = Path(sys.prefix) / "spark.jsa"
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    many = ["-XX:+UseParallelGC", "-XX:CompileThresholdScaling=8"]
    # With one compiler Java reserves only 48 MB for compiled code; a night of many stages must never fill it.
    options = ["-XX:ReservedCodeCacheSize=256m", *(many if heavy else quick)]
    return [*options, _java_option("-XX:SharedArchiveFile", file)] if archive and file.exists() else options


def _java_option(name: str, path: Path) -> str:
    """An option with a path, which may hold blanks and quotes, as Spark's launcher splits options."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'
