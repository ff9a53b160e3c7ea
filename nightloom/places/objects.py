"""Object storage: S3, Google Cloud Storage, Azure. Credentials and endpoint come from the environment alone.

obstore is built on the same library as delta-rs: both read the same variables, such as AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS and AZURE_STORAGE_ACCOUNT_KEY.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import fsspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.fsspec import FsspecStore
from obstore.store import ObjectStore
from upath import UPath

from nightloom.errors import SettingsError
from nightloom.places import SCHEMES, File

CLIENT: Any = {"allow_http": True, "connect_timeout": timedelta(seconds=5)}
"""A plain http:// is used only where the endpoint's own address begins so."""
VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfss": "AZURE_STORAGE_ACCOUNT_KEY, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID",
}
"""Scheme -> the variables that say who asks."""
ENDPOINT = "AWS_ENDPOINT_URL"
CHECK_SECONDS = 10.0
NO_CREDENTIALS = re.compile(r"169\.254\.\d+\.\d+|metadata\.google\.internal")
"""Without credentials in the environment a library asks the machine for its role."""


class FileSystem(FsspecStore):
    """obstore as fsspec's file system of a scheme, for UPath."""

    def bucket(self, name: str) -> ObjectStore:
        """The library's own view of a bucket, which can more than a file system."""
        return self._construct_store(name)

    def _open(self, path: str, mode: str = "rb", *rest: Any, **options: Any) -> Any:
        if mode == "rb":
            # Of an object that is not there, raises before a file is made: a file half made complains when it goes.
            options["size"] = self.info(path)["size"]
        return super()._open(path, mode, *rest, **options)


class ParallelFile(io.RawIOBase):
    """An object that the threads of one process read through one handle: each thread has a position of its own.

    DuckDB (2.0) sets the position and reads in two calls, from several threads at once. With one position a thread gets
    the bytes of another one.
    """

    def __init__(self, bucket: ObjectStore, path: str, size: int) -> None:
        super().__init__()
        self._bucket, self._path, self.size = bucket, path, size
        self._positions: dict[int, int] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the calling thread."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.size}[whence]
        self._positions[threading.get_ident()] = start + offset
        return start + offset

    def tell(self) -> int:
        """The position of the calling thread."""
        return self._positions.get(threading.get_ident(), 0)

    def read(self, size: int = -1) -> bytes:
        """Read from the position of the calling thread on."""
        start = self.tell()
        end = self.size if size < 0 else min(start + size, self.size)
        content = bytes(obstore.get_range(self._bucket, self._path, start=start, end=end)) if start < end else b""
        self._positions[threading.get_ident()] = start + len(content)
        return content


class ParallelFileSystem(FileSystem):
    """Files that several threads read through one handle, for DuckDB."""

    def _open(self, path: str, mode: str = "rb", *rest: Any, **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, *rest, **options)
        bucket, name = self._split_path(path)
        return ParallelFile(self.bucket(bucket), name, self.info(path)["size"])


for _scheme in SCHEMES:
    fsspec.register_implementation(_scheme, type(f"{_scheme}FileSystem", (FileSystem,), {"protocol": _scheme}), True)
PARALLEL = {scheme: type(f"{scheme}Parallel", (ParallelFileSystem,), {"protocol": scheme}) for scheme in SCHEMES}


def parallel_file_system(place: UPath) -> ParallelFileSystem:
    """The file system of a place, for DuckDB."""
    made: ParallelFileSystem = PARALLEL[place.protocol](**place.fs.storage_options)
    return made


def address(text: str, seconds: float | None = None) -> UPath:
    """The place at an address. Raises SettingsError where the environment's endpoint cannot be one.

    `seconds`: give up a silent server after so long and do not ask again, instead of trying for minutes.
    """
    endpoint = os.environ.get(ENDPOINT, "https://")
    if not re.match("https?://", endpoint):
        raise SettingsError(f"variable {ENDPOINT}: found '{endpoint}', expected http://HOST:PORT or https://HOST")
    if endpoint.startswith("http://"):
        os.environ.setdefault("AWS_ALLOW_HTTP", "true")  # delta-rs refuses it otherwise
    if seconds is None:
        return UPath(text.rstrip("/"), client_options=CLIENT)
    impatient = CLIENT | {"timeout": timedelta(seconds=seconds)}
    return UPath(text.rstrip("/"), client_options=impatient, retry_config={"max_retries": 0})


def split(place: UPath) -> tuple[ObjectStore, str]:
    """The bucket of a place, and the place's path in it."""
    bucket, _, path = str(place.path).partition("/")
    return place.fs.bucket(bucket), path


def files_below(place: UPath) -> Iterator[File]:
    """Every object below a place."""
    for name, found in _below(place):
        yield File(name, found["last_modified"].timestamp(), found["size"])


def tags_below(place: UPath) -> dict[str, str]:
    """Name -> tag of every object below a place."""
    return {name: str(found["e_tag"]) for name, found in _below(place)}


def _below(place: UPath) -> Iterator[tuple[str, obstore.ObjectMeta]]:
    bucket, path = split(place)
    for batch in obstore.list(bucket, prefix=path):
        for found in batch:
            if name := found["path"][len(path) :].lstrip("/"):  # an empty one stands for the folder itself
                yield name, found


def write(place: UPath, content: bytes) -> None:
    """Write an object, or replace it."""
    bucket, path = split(place)
    obstore.put(bucket, path, content)


def delete(place: UPath) -> None:
    """Delete an object, if it is there."""
    bucket, path = split(place)
    obstore.delete(bucket, path)


def delete_below(place: UPath) -> None:
    """Delete every object below a place."""
    bucket, path = split(place)
    obstore.delete(bucket, [f"{path}/{name}" for name, _ in _below(place)])


def create(place: UPath, content: bytes) -> str:
    """Create an object that must not exist -> its tag. Raises FileExistsError."""
    bucket, path = split(place)
    try:
        return str(obstore.put(bucket, path, content, mode="create")["e_tag"])
    except AlreadyExistsError:
        raise FileExistsError(str(place)) from None


def replace(place: UPath, content: bytes, tag: str) -> str | None:
    """Replace an object if it still has a tag -> its new tag; None where it has changed."""
    bucket, path = split(place)
    try:
        return str(obstore.put(bucket, path, content, mode={"e_tag": tag})["e_tag"])
    except (PreconditionError, FileNotFoundError):
        return None


def read(place: UPath) -> tuple[bytes, str] | None:
    """An object's content and tag; None where it is not there."""
    bucket, path = split(place)
    try:
        found = obstore.get(bucket, path)
    except FileNotFoundError:
        return None
    return bytes(found.bytes()), str(found.meta["e_tag"])


def access_problem(place: UPath) -> str | None:
    """Ask for the objects of a place -> what is wrong with the bucket, the credentials or the endpoint."""
    bucket, path = split(address(str(place), CHECK_SECONDS))
    try:
        next(iter(obstore.list(bucket, prefix=path, chunk_size=1)), None)
    except (BaseError, FileNotFoundError) as error:
        return f"{place}: {explain(place, error)}"
    return None


def explain(place: UPath, failure: Exception) -> str:
    """An error of the library as what is wrong and what to do, in one line."""
    error = str(failure)
    variables, bucket = VARIABLES[place.protocol], str(place.path).partition("/")[0]
    where = os.environ.get(ENDPOINT) if place.protocol == "s3" else None
    at = f" at {where}" if where else ""
    code = re.search(r"<Code>(\w+)</Code>|\"code\": \"?(\w+)", error)
    first = error.split("\n")[0][:200]
    if NO_CREDENTIALS.search(error):
        return f"found no credentials; set {variables}, or give this machine a role that may read and write there"
    if "404 Not Found" in error:
        return f"there is no bucket {bucket}{at}; create it, or mend the address"
    if re.search("40[013] ", error):
        found = next(filter(None, code.groups()), "") if code else first
        return f"access is refused{at} ({found}); check {variables}, and that their owner may read and write there"
    if "error sending request" in error:
        return f"{where or 'the object storage'} does not answer; check {ENDPOINT if where else 'the network'}"
    return first
