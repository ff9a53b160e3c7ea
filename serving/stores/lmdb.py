"""LMDB, embedded: one immutable environment per version in STORE/v000001, a database per kind.

Loading appends, so keys must ascend. A killed load starts again from the beginning: that is quicker than finding where
it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import pyarrow as pa

from nightloom.errors import StoreError
from serving.stores import base
from serving.stores.base import KINDS, Part, RowSizes
from serving.stores.folder import FolderStore, sync_folder
from serving.stores.pushes import FailureReason, PushError

FIRST_MAP = 1 << 28
"""Initial size of the map in bytes; a full map is doubled. It costs address space only: the file grows as it fills."""
PAGE, PAGE_HEAD = 4096, 16
INLINE = 2038
"""A larger node (8 bytes, key, value) stores its value on pages of its own."""


class LmdbStore(FolderStore):
    """Readers map the file into memory: no server, no network."""

    load_workers = 1

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._loading: lmdb.Environment | None = None
        # LMDB does not allow one process to open an environment twice.
        self._open: WeakValueDictionary[int, LmdbVersion] = WeakValueDictionary()

    def begin_load(self, version: int) -> set[Part]:
        folder = self.folder(version)
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
                with env.begin(db=env.open_db(part[0].encode()), write=True) as txn:
                    # A key that does not ascend (a duplicate id) is not added; the row count then shows it.
                    txn.cursor().putmulti(pairs, append=True)
                return
            except lmdb.MapFullError:
                env.set_mapsize(env.info()["map_size"] * 2)
            except lmdb.DiskError as error:
                raise PushError(FailureReason.QUOTA, f"{self.folder(version)}: the disk is full ({error})") from None

    def finish_load(self, version: int) -> None:
        assert self._loading is not None  # begin() comes first
        self._loading.sync(True)
        self._loading.close()
        self._loading = None
        sync_folder(self.folder(version))

    def open_version(self, version: int) -> LmdbVersion:
        if (found := self._open.get(version)) is None:
            found = self._open[version] = LmdbVersion(self.folder(version))
        return found

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

    def __init__(self, folder: Path) -> None:
        try:
            # No lock file: a version never changes once it can be read.
            self._env = lmdb.open(str(folder), readonly=True, lock=False, max_dbs=len(KINDS), create=False)
            with self._env.begin() as txn:
                kinds = [kind for kind in KINDS if txn.get(kind.encode()) is not None]
            self._databases = {kind: self._env.open_db(kind.encode(), create=False) for kind in kinds}
        except lmdb.Error as error:
            raise StoreError(f"{folder}: no version to read ({error})") from None

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        if kind not in self._databases:
            return [None] * len(keys)
        with self._env.begin(db=self._databases[kind]) as txn:
            return [txn.get(key) for key in keys]

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        with self._env.begin(db=self._databases[kind]) as txn:
            yield from base.to_batches(iter(txn.cursor()))
