"""What a cluster's executors need of the driver: its address, our code, its folders. Laptop and cluster run one code.

Our code is sent, and not part of an executors' image: so executors run the driver's revision, whatever image they have.
It goes as folders (an archive that Spark unpacks), for models/ finds its models by listing its own folder.
"""

from __future__ import annotations

import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyspark.sql import SparkSession

from spark_jobs.sent_model import folder_until_exit
from spark_jobs.session_settings import SparkError

PACKAGES = ("models", "nightloom", "spark_jobs", "training")
"""What runs on executors, ranks of a training too, with what it imports."""
MISSING = "host string, folder string"
DEFAULT_PORTS = {"spark": 7077, "https": 443, "http": 80}


def is_cluster(master: str) -> bool:
    """Whether executors are on other machines than the driver, or may be: not of `local[2]` and the warm server."""
    return master.startswith(("spark://", "k8s://", "sc://")) or master == "yarn"


def driver_address(master: str) -> str | None:
    """This machine's address on the way to a master; executors connect to it. None where Spark chooses it by itself.

    Raises SparkError where there is no way.
    """
    if master == "yarn":  # its address is in Hadoop's files: Spark takes this machine's name
        return None
    first = master.removeprefix("k8s://").split(",")[0]
    parts = urlsplit(first if "://" in first else f"https://{first}")
    host, port = parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)  # of a datagram socket: nothing is sent
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SparkError(f"places.spark is {master}: {host}: {error.strerror or error}; is the name right?") from None


def send_code(spark: SparkSession) -> None:
    """Send our packages to the executors, in front of what their Python has under the same names."""
    root = Path(__file__).parents[1]
    folder = folder_until_exit("nightloom-code-")
    for package in PACKAGES:
        with zipfile.ZipFile(folder / f"{package}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((root / package).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    archive.write(file, file.relative_to(root / package))
        spark.addArtifacts(f"{folder / package}.zip#{package}", archive=True)


def check_folders(spark: SparkSession, lake: Path, folders: Sequence[Path]) -> None:
    """Raises SparkError where an executor lacks the lake or another folder: it has to be shared, or in object storage.

    Looked for is a new file in the lake: an empty folder of the same name is no shared one.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=lake, prefix=".shared-") as mark:
        wanted = [mark.name, *map(str, folders)]
        tasks = spark.range(0, 16, numPartitions=16)
        missing = tasks.mapInArrow(partial(_missing, wanted), MISSING).limit(1).toArrow().to_pylist()
    if missing:
        folder = str(lake) if missing[0]["folder"] == mark.name else missing[0]["folder"]
        raise SparkError(
            f"the executor on {missing[0]['host']} does not see {folder}, which the driver sees; let all machines "
            "mount it at the same path, or put it into object storage"
        )


def _missing(wanted: Sequence[str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        found = [{"host": socket.gethostname(), "folder": each} for each in wanted if not Path(each).exists()]
        yield pa.RecordBatch.from_pylist(found, pa.schema([("host", pa.string()), ("folder", pa.string())]))
