"""The files of stores/files.py in object storage, for a store of kind `files` at an address.

A note is an object, and so is the lock (places/lock.py). A reader asks for the parts of a file that it needs: the first
keys of all blocks when it opens a version, then one block for each key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from obstore.exceptions import BaseError

from nightloom.errors import StoreError
from nightloom.places import lock, objects
from serving.stores import versions
from serving.stores.base import KINDS, DamagedError, Part, RowSizes, VersionPrunedError
from serving.stores.files import FIRST_KEYS, ArrowVersion, FilesStore, part_name, write_blocks
from serving.stores.manifest import MANIFEST, damaged
from serving.stores.pushes import FailureReason, PushError, concurrent_push, version_name
from serving.stores.server import READ_SECONDS, ServerStore

if TYPE_CHECKING:
    from upath import UPath

OPEN_AT_ONCE = 16
"""Files of a version that are opened at a time: each waits for the network."""
READ_AHEAD = 1 << 17
"""Bytes of a request: a block of the usual lists."""


class ObjectsStore(ServerStore):
    """One prefix of a bucket."""

    def __init__(self, place: str, project: str, reading: bool = False) -> None:
        super().__init__(place, project, reading)
        self.location = place
        self.root = objects.address(place, seconds=READ_SECONDS if reading else None)
        self._lease: lock.Lease | None = None

    def folder(self, version: int) -> UPath:
        return self.root / version_name(version)

    def read_note(self, name: str) -> str | None:
        with self._reading():
            found = objects.read(self.root / "notes" / name)
        return None if found is None else found[0].decode("utf8", "replace")

    def read_notes(self) -> dict[str, str]:
        with self._reading():
            names = [file.name for file in objects.files_below(self.root / "notes")]
        return {name: text for name in names if (text := self.read_note(name)) is not None}

    def write_note(self, name: str, text: str | None) -> None:
        note = self.root / "notes" / name
        with self._writing():
            if text is None:
                objects.delete(note)
            else:
                objects.write(note, text.encode())

    def swap_note(self, name: str, before: str | None, after: str) -> bool:
        note = self.root / "notes" / name
        with self._writing():
            found = objects.read(note)
            if found is None or before is None:
                if found is not None or before is not None:
                    return False
                try:
                    objects.create(note, after.encode())
                except FileExistsError:
                    return False
                return True
            return found[0] == before.encode() and objects.replace(note, after.encode(), found[1]) is not None

    @contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        try:
            with self._writing():
                self._lease = lock.Lease(self.root / lock.NAME).take()
        except lock.HeldError as holder:
            raise concurrent_push(self.location, str(holder)) from None
        try:
            yield
        finally:
            lease, self._lease = self._lease, None
            lease.release()

    def begin_load(self, version: int) -> set[Part]:
        with self._writing():
            names = [file.name for file in objects.files_below(self.folder(version))]
        complete = [name.removesuffix(".arrow").split("-") for name in names if name.endswith(".arrow")]
        return {(kind, int(number)) for kind, number in complete}

    def load_part(self, version: int, part: Part, rows: pa.RecordBatch) -> None:
        sink = pa.BufferOutputStream()
        write_blocks(sink, rows)
        with self._writing():
            objects.write(self.folder(version) / part_name(part), sink.getvalue().to_pybytes())

    def finish_load(self, version: int) -> None:
        with self._writing():
            objects.write(self.folder(version) / MANIFEST, json.dumps(self._tags(version)).encode())

    def _tags(self, version: int) -> dict[str, str]:
        """File -> its tag, which changes with its content."""
        tags = objects.tags_below(self.folder(version))
        return {name: tag for name, tag in sorted(tags.items()) if name != MANIFEST}

    def open_version(self, version: int) -> ArrowVersion:
        folder = self.folder(version)
        with self._reading():
            manifest, found = objects.read(folder / MANIFEST), self._tags(version)
        if manifest is None:
            raise DamagedError(f"{folder}: no version to read; publish the night again")
        try:
            recorded: dict[str, str] = json.loads(manifest[0])
        except ValueError as error:
            raise damaged(folder / MANIFEST, error) from None
        if wrong := [name for name in {*recorded, *found} if recorded.get(name) != found.get(name)]:
            raise damaged(folder / wrong[0], "its tag differs")
        parts = [(kind, name) for kind in KINDS for name in sorted(found) if name.startswith(f"{kind}-")]
        with ThreadPoolExecutor(OPEN_AT_ONCE) as pool:
            opened = list(pool.map(lambda part: ObjectPart(folder / part[1], lambda: self._gone(version)), parts))
        return ArrowVersion(folder, zip([kind for kind, _ in parts], opened, strict=True), survives_pruning=False)

    def _gone(self, version: int) -> StoreError:
        """The error of a reader that finds an object of a version gone."""
        if versions.is_complete(self, version):
            return DamagedError(f"{self.folder(version)} has lost files; publish the night again")
        return VersionPrunedError(f"{version_name(version)} was pruned while it was read; ask again")

    def delete_rows(self, version: int) -> None:
        with self._writing():
            objects.delete_below(self.folder(version))

    def version_bytes(self, version: int) -> int:
        with self._reading():
            return sum(file.bytes for file in objects.files_below(self.folder(version)))

    def free_bytes(self) -> None:
        """Nobody knows."""

    @staticmethod
    def predict_bytes(sizes: Mapping[str, RowSizes]) -> int:
        return FilesStore.predict_bytes(sizes)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except BaseError as error:
            raise StoreError(f"{self.location} cannot be read: {objects.explain(self.root, error)}") from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Around a change. Raises PushError, also where the lock was lost: another push may be at work."""
        if self._lease is not None and not self._lease.held:
            raise concurrent_push(self.location, "this one was cut off for too long")
        try:
            yield
        except BaseError as error:
            words = objects.explain(self.root, error)
            raise PushError(FailureReason.STORE, f"{self.location} cannot be written: {words}") from None


class ObjectPart:
    """One part, opened; safe for threads."""

    def __init__(self, place: UPath, gone: Callable[[], StoreError]) -> None:
        self._place, self._gone = place, gone
        with self._translate_errors():
            file = place.open("rb", buffer_size=READ_AHEAD)
            self._reader = pa.ipc.open_file(pa.PythonFile(file, mode="r"))
            self.first = [text.encode("latin1") for text in json.loads(self._reader.schema.metadata[FIRST_KEYS])]

    def read_block(self, number: int) -> pa.RecordBatch:
        """A block. Raises DamagedError, VersionPrunedError, or StoreError without an answer."""
        with self._translate_errors():
            block = self._reader.get_batch(number)
            block.validate(full=True)
            return block

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise self._gone() from None
        except BaseError as error:
            raise StoreError(f"{self._place} cannot be read: {objects.explain(self._place, error)}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(self._place, error) from None
