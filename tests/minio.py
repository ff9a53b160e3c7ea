"""A MinIO server of its own for a test: S3's interface on a free port of this machine, its data in a folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import S3FileSystem

from nightloom.local.airflow_server import free_port

MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
USER, PASSWORD = "nightloom", "a-password-for-tests"
SECONDS_TO_START = 30


@dataclass(frozen=True)
class Minio:
    """A running server; `environment` has the variables that every client of S3 reads."""

    address: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://{self.address}",
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def make_bucket(self, name: str) -> str:
        """Make a bucket, or a folder's marker in one, as Hadoop leaves them -> its address."""
        files = S3FileSystem(
            access_key=USER, secret_key=PASSWORD, endpoint_override=self.address, scheme="http", region="us-east-1",
            allow_bucket_creation=True,
        )  # fmt: skip
        files.create_dir(name)
        return f"s3://{name}"


@contextmanager
def minio(folder: Path) -> Iterator[Minio]:
    """A server for as long as the block lasts."""
    address = f"127.0.0.1:{free_port(0)}"
    command = [program(), "server", str(folder / "minio"), "--address", address]
    own = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_BROWSER": "off"}
    with (folder / "minio.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not is_open(address):
            assert process.poll() is None, (folder / "minio.log").read_text()
            assert time.monotonic() < deadline, f"MinIO did not listen after {SECONDS_TO_START} s"
            time.sleep(0.1)
        yield Minio(address)
    finally:
        process.kill()
        process.wait()


def program() -> str:
    """The server's program; Go builds it at its first use, which takes some minutes."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom" / "go"
    if found := shutil.which("minio", path=os.pathsep.join([os.environ["PATH"], str(folder)])):
        return found
    assert shutil.which("go"), "MinIO is built from its source: install Go 1.24 or later, or put `minio` on the PATH"
    subprocess.run(["go", "install", MODULE], env=os.environ | {"GOBIN": str(folder)}, check=True)
    return str(folder / "minio")


def is_open(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
