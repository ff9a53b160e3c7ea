"""A file -> its unpacked content. The first bytes decide, not the name: `EVENTS.CSV.GZ` may be gzip or plain text."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import PurePath
from typing import Any, cast

import pyarrow as pa

from spark_jobs.readers.record import UnreadableFileError

READ_AHEAD = 1 << 20
ARROW_READ_AHEAD = 1 << 16  # bytes; a read that meets damage gives none of them
HEAD = 512  # bytes; tar writes its name after the first 257
MAX_PACKED = 3  # a zip of gzip files has two packings
DAMAGE_ERRORS = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException, UnreadableFileError,
)  # fmt: skip
"""What the libraries raise at damage."""


def _arrow(codec: str) -> Callable[[BufferedReader], Any]:
    # Arrow's reader and not the zstandard package, which does not notice a truncated file.
    return lambda stream: BufferedReader(
        cast("Any", pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)), ARROW_READ_AHEAD
    )


PACKINGS: dict[bytes, Callable[[BufferedReader], Any]] = {
    b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": _arrow("zstd"), b"\x04\x22\x4d\x18": _arrow("lz4"),
}  # fmt: skip
"""First bytes -> the function that unpacks."""
ZIP = b"PK\x03\x04"
BZIP2_BLOCK = b"1AY&SY"
ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive", b"\x1f\x9d": "a file of `compress`",
    b"\xff\x06\0\0sNaPpY": "a Snappy file", b"LZIP": "an lzip file", b"\x89LZO": "an lzop file",
}  # fmt: skip
DOCUMENTS = {
    b"%PDF-": "a PDF file", b"SQLite format 3\0": "an SQLite database",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook",
}  # fmt: skip


def unpack(stream: BufferedReader, packed: int = 0) -> Iterator[BufferedReader]:
    """A stream -> its unpacked content; a zip file has one for each file in it. Raises UnreadableFileError."""
    head = stream.peek(HEAD)[:HEAD]
    for kinds, advice in ((ARCHIVES, "pack it as gzip, bzip2, xz, zstd, lz4 or zip"), (DOCUMENTS, "save it as csv")):
        if found := next((name for first, name in kinds.items() if head.startswith(first)), None):
            raise UnreadableFileError(f"it is {found}; {advice}")
    if head[257:262] == b"ustar":
        raise UnreadableFileError("it is a tar archive; unpack it")
    method = next((method for first, method in PACKINGS.items() if head.startswith(first)), None)
    if head.startswith(b"BZh") and head[4:10] != BZIP2_BLOCK:
        method = None  # a text that begins so
    if not method and not head.startswith(ZIP):
        yield stream
        return
    if packed == MAX_PACKED:
        raise UnreadableFileError(f"it is packed more than {MAX_PACKED} times")
    if method:
        with method(stream) as unpacked:
            yield from unpack(unpacked, packed + 1)
    else:
        yield from _unzip(stream, packed + 1)


def _unzip(stream: BufferedReader, packed: int) -> Iterator[BufferedReader]:
    with _zip_damage():
        archive = zipfile.ZipFile(stream)
        names = archive.namelist()
    if "[Content_Types].xml" in names:
        raise UnreadableFileError("it is an Office document such as an Excel workbook; save it as csv")
    for name in names:
        if not name.endswith("/") and not any(part.startswith((".", "__MACOSX")) for part in PurePath(name).parts):
            with _zip_damage():
                member = archive.open(name)
            yield from unpack(cast("BufferedReader", member), packed)


@contextmanager
def _zip_damage() -> Iterator[None]:
    """Raise what zipfile raises for a damaged archive, a password or an unknown method as UnreadableFileError."""
    try:
        yield
    except (NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise UnreadableFileError(f"it is a zip file that cannot be unpacked: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the file's begin
            raise
        raise UnreadableFileError("it is a zip file that cannot be unpacked: a place in it is wrong") from None
