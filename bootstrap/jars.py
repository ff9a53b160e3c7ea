"""Spark's further jars -> .venv/spark-jars, a Kafka broker for tests -> .venv/kafka-jars; and a class archive.

Spark's own Ivy resolves them, once, with exactly the names and contents that jars.lock and kafka-jars.lock list; after
that Spark gets them by path, and no start resolves anything.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bootstrap.lock import version_of
from bootstrap.shell import CACHE, CHECKOUT, PYTHON, VENV, SetupError, Shell, keep, say, scratch

ARCHIVER = CHECKOUT / "bootstrap/spark_archive.py"
# Spark brings these in versions of its own; Delta's older ones would come first on the class path and win.
SPARK_BRINGS = (
    "at.yawk.lz4:*,com.fasterxml.jackson.core:*,com.github.luben:*,com.google.code.findbugs:*,commons-logging:*,"
    "commons-pool:*,io.airlift:*,org.apache.hadoop:*,org.apache.logging.log4j:*,org.apache.parquet:*,"
    "org.locationtech.jts:*,org.roaringbitmap:*,org.scala-lang.modules:*,org.slf4j:*,org.xerial.snappy:*"
)


@dataclass(frozen=True)
class Jars:
    """Packages, and all that they need but for what is `excluded`."""

    folder: str
    """In .venv."""
    lock: Path
    """Checksums and names."""
    packages: tuple[str, ...]
    """GROUP:NAME:VERSION; PYSPARK, SPARK and DELTA stand for the locked versions of Python's packages."""
    excluded: str = ""

    def key(self) -> str:
        """What a set-up step depends on. A new environment is without the folder."""
        return self.lock.read_text() if (VENV / self.folder).is_dir() else "missing"

    def install(self, sh: Shell) -> None:
        jars = CACHE / "jars" / hashlib.sha256(self.lock.read_bytes()).hexdigest()[:16]
        if not jars.is_dir():
            with scratch() as folder:
                resolved = self.resolve(sh, folder)
                check(resolved, self.lock)
                keep(resolved, jars)
        check(jars, self.lock)
        target = VENV / self.folder
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(jars, target)  # no link: the environment outlives a cleaned cache

    def resolve(self, sh: Shell, folder: Path) -> Path:
        """Runs an empty script as a Spark job that asks for the packages -> folder of jars."""
        job = folder / "nothing.py"
        job.touch()
        conf = ("--conf", "spark.ui.enabled=false", "--conf", f"spark.jars.ivy={folder / 'ivy'}")
        excluded = ("--exclude-packages", self.excluded) if self.excluded else ()
        sh(VENV / "bin/spark-submit", *conf, "--packages", ",".join(self.coordinates()), *excluded, job)
        return folder / "ivy/jars"

    def write_lock(self, sh: Shell) -> None:
        """The lock, from what Ivy brings now."""
        with scratch() as folder:
            self.lock.write_text(checksums(self.resolve(sh, folder)))

    def coordinates(self) -> list[str]:
        """The packages with the versions put in."""
        pyspark, delta = version_of("pyspark"), version_of("delta-spark")
        versions = {"PYSPARK": pyspark, "SPARK": pyspark.rpartition(".")[0], "DELTA": delta}
        return [re.sub(r"[A-Z]{2,}", lambda name: versions[name[0]], package) for package in self.packages]


SPARK_JARS = Jars(
    "spark-jars",
    CHECKOUT / "jars.lock",
    ("io.delta:delta-spark_SPARK_2.13:DELTA", "org.apache.spark:spark-sql-kafka-0-10_2.13:PYSPARK"),
    SPARK_BRINGS,
)
BROKER_JARS = Jars(
    "kafka-jars",
    CHECKOUT / "kafka-jars.lock",
    ("org.apache.kafka:kafka_2.13:4.1.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"),
)
"""All of a broker but for Scala's library, which Spark brings and Ivy so leaves out."""


def lock(sh: Shell) -> None:
    """Writes both locks anew."""
    for jars in (SPARK_JARS, BROKER_JARS):
        jars.write_lock(sh)


def check(folder: Path, lock: Path) -> None:
    """Raises SetupError unless the folder holds what the lock lists, and nothing else."""
    found, expected = checksums(folder).splitlines(), lock.read_text().splitlines()
    if differing := sorted({line.split()[1] for line in {*found} ^ {*expected}}):
        raise SetupError(
            f"{folder} differs from {lock.name} in {', '.join(differing)}; remove it and run again, "
            "or if pyspark or delta-spark changed in pyproject.toml, `./run lock` writes all locks anew"
        )


def checksums(folder: Path) -> str:
    """One line a jar, as sha256sum prints them."""
    return "".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(folder.iterdir()))


def make_archive(sh: Shell) -> None:
    """The classes of a Delta night, read and checked once: Spark's server starts in about half the time."""
    archive = VENV / "spark.jsa"
    archive.unlink(missing_ok=True)
    try:
        sh(PYTHON, ARCHIVER, archive)
    except SetupError as error:
        say(f"  warning: no class archive, so Spark starts slower than it could: {str(error).splitlines()[0]}")
