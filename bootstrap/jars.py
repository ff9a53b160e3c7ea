"""Jars of Delta and Kafka for Spark -> .venv/spark-jars, and an archive of classes; the jars for S3 -> .venv/s3-jars;
the drivers of databases -> .venv/jdbc-jars; for tests, a Kafka broker and a Cassandra.

Spark's own Ivy resolves the jars once, and their names and contents must be those of the locks. Later starts of Spark
get the jars by path and resolve nothing.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bootstrap.lock import version_of
from bootstrap.shell import CACHE, CHECKOUT, PYTHON, VENV, SetupError, Shell, move_into_cache, say, scratch_folder

ARCHIVER = CHECKOUT / "bootstrap/spark_archive.py"
# Spark has its own versions of these; Delta's older ones would come first on the class path and be used instead.
PROVIDED_BY_SPARK = (
    "at.yawk.lz4:*,com.fasterxml.jackson.core:*,com.github.luben:*,com.google.code.findbugs:*,commons-logging:*,"
    "commons-pool:*,io.airlift:*,org.apache.hadoop:*,org.apache.logging.log4j:*,org.apache.parquet:*,"
    "org.locationtech.jts:*,org.roaringbitmap:*,org.scala-lang.modules:*,org.slf4j:*,org.xerial.snappy:*"
)


@dataclass(frozen=True)
class Jars:
    """Maven packages with their dependencies, without the `excluded` ones."""

    folder: str
    """Name of the folder in .venv."""
    lock: Path
    """File with the checksum and name of each jar."""
    packages: tuple[str, ...]
    """GROUP:NAME:VERSION; PYSPARK, SPARK and DELTA stand for the locked versions of Python's packages."""
    excluded: str = ""

    def key(self) -> str:
        """Inputs of the set-up step: the lock, and whether the folder exists."""
        return self.lock.read_text() if (VENV / self.folder).is_dir() else "missing"

    def install(self, sh: Shell) -> None:
        """Resolve the jars if the cache lacks them, check them against the lock, and copy them into .venv."""
        jars = CACHE / "jars" / hashlib.sha256(self.lock.read_bytes()).hexdigest()[:16]
        if not jars.is_dir():
            with scratch_folder() as folder:
                resolved = self.resolve(sh, folder)
                check_against_lock(resolved, self.lock)
                move_into_cache(resolved, jars)
        check_against_lock(jars, self.lock)
        target = VENV / self.folder
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(jars, target)  # a copy, not a link: the environment must survive a cleaned cache

    def resolve(self, sh: Shell, folder: Path) -> Path:
        """Run an empty script as a Spark job with these packages -> folder of the jars."""
        job = folder / "empty.py"
        job.touch()
        conf = ("--conf", "spark.ui.enabled=false", "--conf", f"spark.jars.ivy={folder / 'ivy'}")
        excluded = ("--exclude-packages", self.excluded) if self.excluded else ()
        sh(VENV / "bin/spark-submit", *conf, "--packages", ",".join(self.coordinates()), *excluded, job)
        return folder / "ivy/jars"

    def write_lock(self, sh: Shell) -> None:
        """Write the lock from the jars that Ivy resolves now."""
        with scratch_folder() as folder:
            self.lock.write_text(checksums(self.resolve(sh, folder)))

    def coordinates(self) -> list[str]:
        """The packages, with PYSPARK, SPARK and DELTA replaced by versions."""
        pyspark, delta = version_of("pyspark"), version_of("delta-spark")
        versions = {"PYSPARK": pyspark, "SPARK": pyspark.rpartition(".")[0], "DELTA": delta}
        return [re.sub(r"[A-Z]{2,}", lambda name: versions[name[0]], package) for package in self.packages]


SPARK_JARS = Jars(
    "spark-jars",
    CHECKOUT / "jars.lock",
    ("io.delta:delta-spark_SPARK_2.13:DELTA", "org.apache.spark:spark-sql-kafka-0-10_2.13:PYSPARK"),
    PROVIDED_BY_SPARK,
)
JDBC_JARS = Jars(
    "jdbc-jars",
    CHECKOUT / "jdbc-jars.lock",
    (
        "org.postgresql:postgresql:42.7.8",
        "com.mysql:mysql-connector-j:9.5.0",
        "com.microsoft.sqlserver:mssql-jdbc:13.2.1.jre11",
    ),
    "org.checkerframework:*,com.google.protobuf:*",  # annotations, and a protocol of MySQL that JDBC does not use
)
"""In a folder of their own: the archive of classes fits the class path of SPARK_JARS alone."""
BROKER_JARS = Jars(
    "kafka-jars",
    CHECKOUT / "kafka-jars.lock",
    ("org.apache.kafka:kafka_2.13:4.1.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"),
)
"""A complete broker except Scala's library: Spark provides that, so Ivy leaves it out."""
S3_JARS = Jars(
    "s3-jars", CHECKOUT / "s3-jars.lock", ("org.apache.hadoop:hadoop-aws:3.5.0",), "org.apache.hadoop:hadoop-common"
)
"""690 MB, nearly all of it Amazon's. The version is that of Spark's own Hadoop."""
LOG_STORE = CHECKOUT / "spark_jobs/java/nightloom/S3LogStore.java"
LOG_STORE_JAR = VENV / S3_JARS.folder / "nightloom-s3-log-store.jar"
CASSANDRA_JARS = Jars("cassandra-jars", CHECKOUT / "cassandra-jars.lock", ("org.apache.cassandra:cassandra-all:5.0.5",))


def lock(sh: Shell) -> None:
    """Write the locks."""
    for jars in (SPARK_JARS, JDBC_JARS, BROKER_JARS, S3_JARS, CASSANDRA_JARS):
        jars.write_lock(sh)


def install_for_images(sh: Shell) -> None:
    """Install the jars of images, and put Spark's own Scala library beside the broker's."""
    for each in (SPARK_JARS, JDBC_JARS, S3_JARS, BROKER_JARS):
        each.install(sh)
    build_log_store(sh)
    (scala,) = VENV.glob("lib/python3*/site-packages/pyspark/jars/scala-library-2.13.*.jar")
    shutil.copy(scala, VENV / BROKER_JARS.folder)


def check_against_lock(folder: Path, lock: Path) -> None:
    """Raises SetupError unless the folder holds exactly the jars of the lock."""
    actual, expected = checksums(folder).splitlines(), lock.read_text().splitlines()
    if differing := sorted({line.split()[1] for line in {*actual} ^ {*expected}}):
        raise SetupError(
            f"{folder} differs from {lock.name} in {', '.join(differing)}; remove it and run again, "
            "or if pyspark or delta-spark changed in pyproject.toml, `./run lock` writes new locks"
        )


def checksums(folder: Path) -> str:
    """One line per jar, in the format of sha256sum."""
    return "".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(folder.iterdir()))


def log_store_key() -> str:
    """Inputs of the set-up step: the source, and whether the jar exists."""
    return LOG_STORE.read_text() if LOG_STORE_JAR.is_file() else "missing"


def build_log_store(sh: Shell) -> None:
    """Compile what makes Delta's commits on S3 safe, against the jars that Spark runs with."""
    libraries = [*(VENV / "lib").glob("python3*/site-packages/pyspark/jars/hadoop-client-*.jar")]
    libraries += [jar for jars in (SPARK_JARS, S3_JARS) for jar in (VENV / jars.folder).glob("*.jar")]
    with scratch_folder() as classes:
        sh("javac", "--release", "17", "-d", classes, "-cp", ":".join(map(str, libraries)), LOG_STORE)
        sh("jar", "--create", "--file", LOG_STORE_JAR, "-C", classes, ".")


def make_archive(sh: Shell) -> None:
    """Write the archive of loaded and verified classes: with it Spark's server starts in about half the time."""
    archive = VENV / "spark.jsa"
    archive.unlink(missing_ok=True)
    try:
        sh(PYTHON, ARCHIVER, archive)
    except SetupError as error:
        say(f"  warning: no class archive, so Spark starts slower than it could: {str(error).splitlines()[0]}")
