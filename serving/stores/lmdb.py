"""LMDB, embedded: one immutable environment per version in STORE/v000001, a database per kind.

Loading appends, so keys must ascend. A killed load starts again from the beginning: that is quicker than finding where
it stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from shutil import rmtree
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import pyarrow as pa

from serving.stores import base
from serving.stores.base import KINDS, Part, RowSizes
from serving.stores.folder import FolderStore, translate_write_errors
from serving.stores.manifest import CheckedFile, check_manifest, cut_short, damaged
from serving.stores.pushes import FailureReason, PushError

FIRST_MAP = 1 << 28
"""Initial size of the map in bytes; a full map is doubled. It costs address space only: the file grows as it fills."""
DATA = "data.mdb"
ROOM = 1 << 20
"""Less free space than so many bytes counts as none."""
PAGE, PAGE_HEAD = 4096, 16
INLINE = 2038
"""A larger node (8 bytes, key, value) stores its value on pages of its own."""


OPEN_VERSIONS: WeakValueDictionary[tuple[int, int], LmdbVersion] = WeakValueDictionary()
"""Device and inode of a file -> what is open. LMDB does not allow one process to open a file twice."""
OPENING = threading.Lock()


class LmdbStore(FolderStore):
    """Readers map the file into memory: no server, no network."""

    load_workers = 1
    _loading: lmdb.Environment | None = None

    def begin_load(self, version: int) -> set[Part]:
        folder = self.folder(version)
        with self._translate_errors(version):
            folder.parent.mkdir(parents=True, exist_ok=True)
            rmtree(folder, ignore_errors=not folder.exists())
            # No sync per commit: an incomplete version is never read, and one sync at the end makes it durable.
            self._loading = lmdb.open(
                str(folder), map_size=FIRST_MAP, max_dbs=len(KINDS), sync=False, metasync=False, lock=False
            )
            for kind in KINDS:
                self._loading.open_db(kind.encode())
        return set()

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        env = self._loading
        assert env is not None  # begin() comes first
        pairs = base.key_value_pairs(rows)
        while True:
            try:
                with self._translate_errors(version), env.begin(db=env.open_db(part[0].encode()), write=True) as txn:
                    # A key that does not ascend (a duplicate id) is not added; the row count then shows it.
                    txn.cursor().putmulti(pairs, append=True)
                return
            except lmdb.MapFullError:
                env.set_mapsize(env.info()["map_size"] * 2)

    def finish_load(self, version: int) -> None:
        assert self._loading is not None  # begin() comes first
        with self._translate_errors(version):
            self._loading.sync(True)
        self._loading.close()
        self._loading = None
        super().finish_load(version)

    def delete_rows(self, version: int) -> None:
        if self._loading is not None:  # a deleted file that is open still takes its room
            self._loading.close()
            self._loading = None
        super().delete_rows(version)

    def open_version(self, version: int) -> LmdbVersion:
        check_manifest(self.folder(version))
        file = CheckedFile(self.folder(version) / DATA)
        with OPENING:
            if (found := OPEN_VERSIONS.get(file.identity)) is None:
                found = OPEN_VERSIONS[file.identity] = LmdbVersion(file)
            elif file.bytes < found.file.bytes:
                raise cut_short(file.path)
            found.file = file  # its content was compared just now
            return found

    @contextmanager
    def _translate_errors(self, version: int) -> Iterator[None]:
        folder = self.folder(version)
        try:
            with translate_write_errors(folder):
                yield
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:  # LMDB says "Input/output error" too where a file may not grow
            room = self.free_bytes() > ROOM and not isinstance(error, lmdb.DiskError)
            reason = FailureReason.STORE if room else FailureReason.QUOTA
            raise PushError(
                reason, f"{folder} cannot be written ({error}); check its disk and its free space"
            ) from None

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        total = (2 + len(sizes)) * PAGE
        for size in sizes.values():
            node = 8 + size.keys + size.values
            overflow = np.where(node > INLINE, np.ceil((PAGE_HEAD + size.values) / PAGE), 0)
            inline = np.where(node > INLINE, 8 + size.keys + 8, node)
            leaves = base.mean_page_share((inline + 1) // 2 * 2 + 2, PAGE - PAGE_HEAD)
            branches = leaves * (8 + size.keys.mean() + 2) / (PAGE - PAGE_HEAD) if size.rows else 0.0
            total += int(size.rows * (leaves + branches + overflow.mean() if size.rows else 0.0) * PAGE) + PAGE
        return total


class LmdbVersion:
    """One version, memory-mapped. An open version stays readable after its file is deleted."""

    survives_pruning = True

    def __init__(self, file: CheckedFile) -> None:
        self.file = file
        with self._translate_errors():
            # No lock file: a version never changes once it can be read.
            self._env = lmdb.open(
                str(file.path), subdir=False, readonly=True, lock=False, max_dbs=len(KINDS), create=False
            )
            if self.file.bytes < (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]:
                raise cut_short(file.path)
            with self._env.begin() as txn:
                kinds = [kind for kind in KINDS if txn.get(kind.encode()) is not None]
            self._databases = {kind: self._env.open_db(kind.encode(), create=False) for kind in kinds}
        self._idle: dict[str, list[lmdb.Transaction[bytes]]] = {kind: [] for kind in kinds}
        """Transactions that no thread uses: the version never changes, and a new one takes as long as the read."""

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        if (idle := self._idle.get(kind)) is None:
            return [None] * len(keys)
        self.file.check()
        try:  # a context manager would take as long as the read
            txn = idle.pop() if idle else self._env.begin(db=self._databases[kind])
            found = [txn.get(key) for key in keys]
        except lmdb.Error as error:
            raise damaged(self.file.path, error) from None
        idle.append(txn)
        return found

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        if kind in self._databases:
            self.file.check()
            with self._translate_errors(), self._env.begin(db=self._databases[kind]) as txn:
                for batch in base.to_batches(iter(txn.cursor())):
                    self.file.check()
                    yield batch

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise damaged(self.file.path, error) from None
