"""`nightloom function PLACE`: the champion, the night's items and the slate rules, for serving/function.py.

Each export is a folder of its own. The file `current` names the newest that a process could read back.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC
from pathlib import Path

import click

from models.registry import RegistryError, serving_version
from nightloom.contracts import ITEM_STATS, ITEMS
from nightloom.lake import Lake, now
from nightloom.places import Place, files_below, place_at, remove_tree, upload_folder, write_text
from nightloom.settings import Settings, load
from serving import function
from serving.scoring_files import write_scoring_files


@click.command("function")
@click.argument("place")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Exports that stay in PLACE.")
def function_command(place: str, keep: int) -> None:
    """Write the champion, the newest night's items and the slate rules to PLACE, for serving/function.py.

    PLACE is a folder or an address. Running instances take it within a minute.
    """
    name = export(load(), place_at(place), keep)
    click.echo(f"{place}: {name} is current; set {function.VARIABLE}={place} where the function runs")


def export(settings: Settings, place: Place, keep: int = 2) -> str:
    """Write an export and make it the current one -> its name. Raises NightloomError where there is no champion."""
    if (found := serving_version(settings)) is None:
        raise RegistryError("there is no champion yet; a night trains and promotes one")
    lake = Lake(settings.place("lake"))
    [night] = lake.rows(ITEM_STATS, columns=["max(night) AS night"])["night"].to_pylist()
    if night is None:
        raise RegistryError("gold.item_stats has no night yet; run one first")
    exported_at = now()
    name = f"{exported_at:%Y%m%dT%H%M%SZ}-v{found.version}"
    about = {
        "exported_at": exported_at.astimezone(UTC).isoformat(timespec="seconds"),
        "signals": [each.model_dump(mode="json") for each in settings.signals],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_scoring_files(folder, settings, found, lake.version(ITEMS), night, night, **about)
        function.Function.load(folder)  # what no instance could read is not made current
        if isinstance(place, Path):
            shutil.copytree(folder, place / name)
        else:
            upload_folder(folder, place / name)
    write_text(place / function.CURRENT, name)
    _prune(place, keep)
    return name


def _prune(place: Place, keep: int) -> None:
    """Remove all exports but the newest."""
    names = sorted({file.name.partition("/")[0] for file in files_below(place)} - {function.CURRENT})
    for old in names[:-keep]:
        remove_tree(place / old)
