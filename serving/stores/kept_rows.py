"""Rows in memory, and on the disk of this machine: those that a server answers with while its store cannot be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightloom.errors import StoreError
from serving.stores.base import KINDS, to_batches
from serving.stores.pushes import Push

MAX_BYTES = 32_000_000
"""Of all kept values of a version; later ones are not kept."""


class KeptRows:
    """Some rows of a version, as its StoredVersion gives them."""

    survives_pruning = True

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, bytes]] = {kind: {} for kind in KINDS}
        self._bytes = 0

    def keep(self, kind: str, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Remember rows, while there is room."""
        rows = self._rows[kind]
        for key, value in zip(keys, values, strict=True):
            if value is not None and key not in rows and self._bytes + len(value) <= MAX_BYTES:
                rows[key] = value
                self._bytes += len(value)

    def get(self, kind: str, keys: Sequence[bytes]) -> list[bytes | None]:
        rows = self._rows[kind]
        return [rows.get(key) for key in keys]

    def scan(self, kind: str) -> Iterator[pa.RecordBatch]:
        yield from to_batches(iter(self._rows[kind].items()))

    def save(self, file: Path, push: Push, location: str) -> None:
        """Write the rows to a file, with the record of their push. Raises OSError."""
        rows = {
            kind: {key.decode(): value.decode() for key, value in of_kind.copy().items()}
            for kind, of_kind in self._rows.items()
        }
        write_for_restart(file, {"location": location, "push": asdict(push), "rows": rows})


def write_for_restart(file: Path, content: Mapping[str, Any]) -> None:
    """Replace a file that the next process on this machine reads while its store is away. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf8")
    part.replace(file)


def load_rows(file: Path, location: str) -> tuple[Push, KeptRows] | None:
    """What save() wrote; None where there is no file, or one of another store. Raises StoreError for any other file."""
    try:
        content = json.loads(file.read_text(encoding="utf8"))
        if content["location"] != location:
            return None
        kept = KeptRows()
        for kind, rows in content["rows"].items():
            kept.keep(kind, [key.encode() for key in rows], [value.encode() for value in rows.values()])
        return Push(**content["push"]), kept
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{file} cannot be read ({error!r}); delete it") from None
