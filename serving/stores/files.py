"""Plain immutable files, for a folder that many machines read (NFS, a mounted bucket): Arrow IPC, sorted by key.

STORE/v000001/users-00000.arrow is a part: batches of BLOCK rows, and in its schema the first key of each. A reader
keeps the first keys and the open files; a read is a block of a file, and two binary searches.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from nightloom.places import Place
from serving.stores.base import KINDS, SCHEMA, DamagedError, Part, RowSizes
from serving.stores.folder import FolderStore, translate_write_errors
from serving.stores.manifest import CheckedFile, check_manifest, damaged

BLOCK = 256
"""Rows of a batch, which a reader searches for a key."""
FIRST_KEYS = b"first_keys"
BLOCK_BYTES, FILE_BYTES = 500, 1_000
"""Roughly what Arrow adds to each batch and to each file."""


class FilesStore(FolderStore):
    """Each part is a file named after it, so a killed load continues where it stopped."""

    load_workers = 2

    def begin_load(self, version: int) -> set[Part]:
        with translate_write_errors(self.folder(version)):
            self.folder(version).mkdir(parents=True, exist_ok=True)
        complete = [file.stem.split("-") for file in self.folder(version).glob("*.arrow")]
        return {(kind, int(number)) for kind, number in complete}

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        file = self.folder(version) / part_name(part)
        unfinished = file.with_suffix(".part")
        with translate_write_errors(file):
            with unfinished.open("wb") as handle:
                write_blocks(handle, rows)
                handle.flush()
                os.fsync(handle.fileno())
            unfinished.rename(file)

    def open_version(self, version: int) -> ArrowVersion:
        folder = self.folder(version)
        check_manifest(folder)
        files = ((kind, file) for kind in KINDS for file in sorted(folder.glob(f"{kind}-*.arrow")))
        return ArrowVersion(folder, ((kind, OpenPart(file)) for kind, file in files))

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        total = 0.0
        for size in sizes.values():
            if size.rows:
                row = size.keys.mean() * (1 + 1.2 / BLOCK) + size.values.mean() + 8
                total += size.rows * row + -(-size.rows // BLOCK) * BLOCK_BYTES + FILE_BYTES
        return int(total)


def part_name(part: Part) -> str:
    return f"{part[0]}-{part[1]:05d}.arrow"


def write_blocks(sink: Any, rows: pa.RecordBatch) -> None:
    """Rows -> the content of a part, into an open file."""
    rows = rows.select(SCHEMA.names)
    blocks = [rows.slice(start, BLOCK) for start in range(0, rows.num_rows, BLOCK)]
    first = json.dumps([block["key"][0].as_py().decode("latin1") for block in blocks])
    with pa.ipc.new_file(sink, SCHEMA.with_metadata({FIRST_KEYS: first})) as writer:
        for block in blocks:
            writer.write_batch(block)


class OpenBlocks(Protocol):
    """One part, opened."""

    first: list[bytes]
    """The first key of each block."""

    def read_block(self, number: int) -> pa.RecordBatch: ...


class ArrowVersion:
    """One version. In a folder, an open version stays readable after its files are deleted."""

    def __init__(self, folder: Place, parts: Iterable[tuple[str, OpenBlocks]], survives_pruning: bool = True) -> None:
        self.survives_pruning = survives_pruning
        self._blocks: dict[str, list[tuple[OpenBlocks, int]]] = {kind: [] for kind in KINDS}
        self._first: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        for kind, part in parts:
            self._first[kind] += part.first
            self._blocks[kind] += [(part, number) for number in range(len(part.first))]
        if not any(self._first.values()):
            raise DamagedError(f"{folder}: no version to read; publish the night again")

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._find(kind, key) for key in keys]

    def _find(self, kind: str, key: bytes) -> bytes | None:
        at = bisect_right(self._first[kind], key) - 1
        if at < 0:
            return None
        part, number = self._blocks[kind][at]
        block = part.read_block(number)
        keys = block["key"]
        row = bisect_right(range(len(keys)), key, key=lambda each: keys[each].as_py()) - 1
        return block["value"][row].as_py() if keys[row].as_py() == key else None

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        for part, number in self._blocks[kind]:
            yield part.read_block(number)


class OpenPart:
    """One part, opened. Its blocks are read and not mapped: a map of a file that is overwritten can end the process."""

    def __init__(self, file: Path) -> None:
        self._file = CheckedFile(file)
        with self._translate_errors():
            self._reader = pa.ipc.open_file(pa.OSFile(str(file)))
            self.first = [text.encode("latin1") for text in json.loads(self._reader.schema.metadata[FIRST_KEYS])]

    def read_block(self, number: int) -> pa.RecordBatch:
        """A block. Raises DamagedError."""
        self._file.check()
        with self._translate_errors():
            block = self._reader.get_batch(number)
            block.validate(full=True)  # otherwise damaged offsets could end the process
            return block

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(self._file.path, error) from None
