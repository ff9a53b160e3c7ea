"""Delta's jars -> .venv/delta-jars, with exactly the names and contents that jars.lock lists; and a class archive.

Spark's own Ivy resolves them, once; after that Spark gets them by path, and no start resolves anything.
"""

import hashlib
import shutil
from pathlib import Path

from bootstrap.lock import version_of
from bootstrap.shell import CACHE, CHECKOUT, PYTHON, VENV, SetupError, Shell, keep, say, scratch

JARS_LOCK = CHECKOUT / "jars.lock"
ARCHIVER = CHECKOUT / "bootstrap/spark_archive.py"
# Spark brings these in versions of its own; Delta's older ones would come first on the class path and win.
SPARK_BRINGS = (
    "com.fasterxml.jackson.core:*,com.github.luben:*,com.google.code.findbugs:*,commons-logging:*,commons-pool:*,"
    "io.airlift:*,org.apache.hadoop:*,org.apache.logging.log4j:*,org.apache.parquet:*,org.locationtech.jts:*,"
    "org.roaringbitmap:*,org.slf4j:*,org.xerial.snappy:*"
)


def install(sh: Shell) -> None:
    jars = CACHE / "jars" / hashlib.sha256(JARS_LOCK.read_bytes()).hexdigest()[:16]
    if not jars.is_dir():
        with scratch() as folder:
            resolved = resolve(sh, folder)
            check(resolved, JARS_LOCK.read_text())
            keep(resolved, jars)
    check(jars, JARS_LOCK.read_text())
    target = VENV / "delta-jars"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(jars, target)  # no link: the environment outlives a cleaned cache


def resolve(sh: Shell, folder: Path) -> Path:
    """Runs an empty script as a Spark job that asks for Delta's package -> folder of jars."""
    job = folder / "nothing.py"
    job.touch()
    spark = ".".join(version_of("pyspark").split(".")[:2])
    delta = f"io.delta:delta-spark_{spark}_2.13:{version_of('delta-spark')}"
    conf = ("--conf", "spark.ui.enabled=false", "--conf", f"spark.jars.ivy={folder / 'ivy'}")
    sh(VENV / "bin/spark-submit", *conf, "--packages", delta, "--exclude-packages", SPARK_BRINGS, job)
    return folder / "ivy/jars"


def lock(sh: Shell) -> None:
    """Writes jars.lock from what Ivy brings now."""
    with scratch() as folder:
        JARS_LOCK.write_text(checksums(resolve(sh, folder)))


def check(folder: Path, expected: str) -> None:
    if differing := sorted({line.split()[1] for line in {*checksums(folder).splitlines()} ^ {*expected.splitlines()}}):
        raise SetupError(
            f"{folder} differs from jars.lock in {', '.join(differing)}; remove it and run again, "
            "or if pyspark or delta-spark changed in pyproject.toml, `./run lock` writes both locks anew"
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
