"""LMDB, embedded: one immutable environment per version in STORE/v000001, a database per kind.

Loading appends, so keys must rise; what a killed load left is begun anew, which is quicker than finding its end.
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
from serving.stores.base import KINDS, Part, Shape
from serving.stores.folder import Folder, sync_folder
from serving.stores.versions import PushError, Reason

FIRST_MAP = 1 << 28
"""Bytes of the map at first; it is doubled when it is full. It costs address space only, the file grows as it fills."""
PAGE, PAGE_HEAD = 4096, 16
INLINE = 2038
"""A node (8 bytes, key, value) above this has its value on pages of its own."""


class Lmdb(Folder):
    """Readers map the file: no server, no network."""

    workers = 1

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._loading: lmdb.Environment | None = None
        # LMDB forbids to open an environment twice in one process.
        self._open: WeakValueDictionary[int, Environment] = WeakValueDictionary()

    def begin(self, version: int) -> set[Part]:
        folder = self.folder(version)
        rmtree(folder, ignore_errors=not folder.exists())
        # No sync per commit: a version that is not whole is never read, and the one sync at the end makes it durable.
        self._loading = lmdb.open(
            str(folder), map_size=FIRST_MAP, max_dbs=len(KINDS), sync=False, metasync=False, lock=False
        )
        for kind in KINDS:
            self._loading.open_db(kind.encode())
        return set()

    def put(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        env = self._loading
        assert env is not None  # begin() comes first
        pairs = base.pairs(rows)
        while True:
            try:
                with env.begin(db=env.open_db(part[0].encode()), write=True) as txn:
                    # A key that does not rise (twice the same id) is not added: the count then tells.
                    txn.cursor().putmulti(pairs, append=True)
                return
            except lmdb.MapFullError:
                env.set_mapsize(env.info()["map_size"] * 2)
            except lmdb.DiskError as error:
                raise PushError(Reason.QUOTA, f"{self.folder(version)}: the disk is full ({error})") from None

    def finish(self, version: int) -> None:
        assert self._loading is not None  # begin() comes first
        self._loading.sync(True)
        self._loading.close()
        self._loading = None
        sync_folder(self.folder(version))

    def open(self, version: int) -> Environment:
        if (found := self._open.get(version)) is None:
            found = self._open[version] = Environment(self.folder(version))
        return found

    @staticmethod
    def predicted(shapes: Mapping[str, Shape]) -> int:
        total = (2 + len(shapes)) * PAGE
        for shape in shapes.values():
            node = 8 + shape.keys + shape.values
            apart = np.where(node > INLINE, np.ceil((PAGE_HEAD + shape.values) / PAGE), 0)
            inline = np.where(node > INLINE, 8 + shape.keys + 8, node)
            leaves = base.pages((inline + 1) // 2 * 2 + 2, PAGE - PAGE_HEAD)
            branches = leaves * (8 + shape.keys.mean() + 2) / (PAGE - PAGE_HEAD) if shape.rows else 0.0
            total += int(shape.rows * (leaves + branches + apart.mean() if shape.rows else 0.0) * PAGE) + PAGE
        return total


class Environment:
    """One version, mapped. Stays readable as long as it is held, deleted or not."""

    lasting = True

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
            yield from base.records(iter(txn.cursor()))
