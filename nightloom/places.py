"""A place: a folder, or an address in object storage such as s3://BUCKET/FOLDER.

A folder is a pathlib.Path. An address is a UPath, which has the methods of a Path that object storage can have.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nightloom.errors import SettingsError

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = "Path | UPath"


def folder_of(place: Place) -> Path:
    """A place that has to be a folder. Raises SettingsError for an address."""
    if isinstance(place, Path):
        return place
    raise SettingsError(f"{place} is in object storage; expected a folder on this machine's disks")


def remove_tree(place: Place) -> None:
    """Remove a folder with everything in it."""
    if isinstance(place, Path):
        shutil.rmtree(place)
    else:
        place.fs.rm(place.path, recursive=True)
