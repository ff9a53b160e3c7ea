"""A model on its way to Spark's workers: read from the driver's folder, or on a cluster once on each machine.

On a cluster Spark sends one archive to each executor. The first worker of a machine unpacks it into a folder that all
executors there use: they map the same files, so the machine's memory holds the arrays once.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KEPT_SECONDS = 7 * 86_400
"""A machine keeps a model that long after its last use."""


@dataclass(frozen=True)
class SentModel:
    """`folder` on the driver's machine; `archive`, the file that Spark sends, is empty where workers read `folder`."""

    folder: str
    archive: str = ""

    def here(self) -> str:
        """Folder on this machine."""
        if not self.archive:
            return self.folder
        from pyspark.core.files import SparkFiles  # the API explains by the same functions, and has no Spark

        return str(_unpacked(Path(SparkFiles.get(self.archive))))


def send(spark: SparkSession, folder: Path, *, to_cluster: bool) -> SentModel:
    """Make a model known to the executors."""
    if not to_cluster:
        return SentModel(str(folder))
    file = folder_until_exit("nightloom-model-") / f"nightloom-model-{folder.name}.zip"
    with zipfile.ZipFile(file, "w") as archive:  # stored as it is: floats hardly shrink
        for each in folder.rglob("*"):
            archive.write(each, each.relative_to(folder))
    spark.addArtifacts(str(file), file=True)
    return SentModel(str(folder), file.name)


def folder_until_exit(prefix: str) -> Path:
    """A scratch folder of this process: Spark sends files from where they are, whenever an executor starts."""
    folder = tempfile.mkdtemp(prefix=prefix)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def machine_folder() -> Path:
    """Where the executors of this user on this machine share models; in TMPDIR."""
    folder = Path(tempfile.gettempdir(), f"nightloom-{os.getuid()}", "models")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder.parent} is somebody else's; set TMPDIR to a folder of this user's")
    return folder


def _unpacked(archive: Path) -> Path:
    """The folder of an archive's files, unpacked by the first who asks."""
    models = machine_folder()
    target = models / archive.stem
    with (models / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not target.is_dir():
            _remove_unused(models)
            scratch = Path(tempfile.mkdtemp(dir=models, prefix=".unpacking-"))
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(scratch)
            scratch.rename(target)
        os.utime(target)
    return target


def _remove_unused(models: Path) -> None:
    """Remove models that nobody has used for long, and what killed workers left."""
    for folder in models.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(folder)
