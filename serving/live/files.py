"""HOME/live: for each published version the files that score its users, written with its push and removed with it.

`live` among the facts of a push names its folder; a push without that fact was made while serving.live was off, or
without one model for all lists.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from models.registry import find_version
from nightloom.contracts import ITEMS
from nightloom.night.context import Night
from nightloom.places import Place, download_folder, files_below, remove_tree, upload_folder
from nightloom.settings import Settings
from serving.scoring_files import read_scoring_files, write_scoring_files
from serving.stores import Store, versions
from serving.stores.pushes import NO_MODEL, version_name

FACT = "live"
FETCHED_SECONDS = 7 * 86_400
"""A copy of files in object storage stays on a machine for so long."""


def live_place(settings: Settings) -> Place:
    """Where the files of all versions are."""
    return settings.place("home") / "live"


def write_live_files(night: Night, version: int, model_version: str) -> dict[str, str]:
    """Write the files of a version -> its facts; none without one model for all lists.

    The rules are those of the next night; the numbers of events in them, and what is available, are this night's.
    """
    if model_version == NO_MODEL or "," in model_version:
        return {}
    name = f"{version_name(version)}-{secrets.token_hex(8)}"
    model, following = find_version(night.settings, model_version), night.date + timedelta(days=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        items = night.reads.get(ITEMS.full_name, night.lake.version(ITEMS))
        write_scoring_files(folder, night.settings, model, items, night.date, following)
        read_scoring_files(folder)  # what no server could read is not published
        place = live_place(night.settings) / name
        if isinstance(place, Path):
            shutil.copytree(folder, place)
        else:
            upload_folder(folder, place)
    return {FACT: name}


def prune_live_files(settings: Settings, store: Store) -> None:
    """Remove the files of versions that are not kept any more."""
    place = live_place(settings)
    if isinstance(place, Path) and not place.is_dir():
        return
    used = {push.facts.get(FACT) for push in versions.list_pushes(store)}
    for name in {file.name.partition("/")[0] for file in files_below(place)} - used:
        remove_tree(place / name)


def fetch_live_files(settings: Settings, name: str) -> Path:
    """The folder of a version's files on this machine. Raises OSError where it is not there."""
    place = live_place(settings) / name
    if isinstance(place, Path):
        return place
    folders = settings.place("scratch") / "serving" / "live"
    folders.mkdir(parents=True, exist_ok=True)
    target = folders / name
    if not target.is_dir():
        for folder in folders.iterdir():
            if folder.stat().st_mtime < time.time() - FETCHED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)  # mapped arrays stay readable
        with tempfile.TemporaryDirectory(dir=folders) as scratch:
            download_folder(place, Path(scratch) / name)
            try:
                (Path(scratch) / name).rename(target)
            except OSError:  # another worker was faster
                if not target.is_dir():
                    raise
    return target
