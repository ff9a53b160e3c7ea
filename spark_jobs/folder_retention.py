"""What grows beside the tables, and is bounded here by maintenance: listings of landing files, notes of reads, models
that were fetched from the registry, and the checkpoints of trainings that nobody finished.

Nothing is lost: a landing file that is still there stays listed, and a model is fetched again when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from models import registry
from nightloom.contracts import RECOMMENDATIONS
from nightloom.lake import now
from nightloom.places import Place, remove_tree
from spark_jobs import bronze, landing
from spark_jobs.context import SparkNight
from spark_jobs.table_reads import trim_reads


def trim_folders(night: SparkNight) -> Iterator[str]:
    """Remove what has not been used for `retention.history_days` -> descriptions of what was done.

    Raises ConcurrentRunError while another run ingests.
    """
    oldest = now() - timedelta(days=night.settings.retention.history_days)
    with bronze.exclusive_lock(night.lake.root / "_checkpoints"):
        for source in night.settings.sources:
            listing = bronze.listing_of(night, source)
            if listing.exists():
                rows = landing.trim_listing(night.settings.root, listing, oldest)
                yield from [f"listing of {source.name}: forgot {rows:,} files that are gone"] if rows else ()
            if (reads := bronze.reads_of(night, source)).exists():
                trim_reads(reads, oldest)
    if old := _older_than(night.settings.place("scratch") / "models", oldest):
        needed = registry.versions_in_use(night.settings) | _scoring_versions(night)
        yield from _removed([folder for folder in old if folder.name.split("-")[0] not in needed])
    yield from _removed(_older_than(night.settings.place("home") / "training", oldest))


def _older_than(folder: Place, oldest: datetime) -> list[Place]:
    """Folders in a folder that nobody has written to since."""
    every: list[Place] = sorted(folder.iterdir(), key=str) if folder.exists() else []
    return [each for each in every if each.is_dir() and each.stat().st_mtime < oldest.timestamp()]


def _scoring_versions(night: SparkNight) -> set[str]:
    """Versions of the model whose lists are in the table: explanations ask for them."""
    if not night.lake.exists(RECOMMENDATIONS):
        return set()
    found = night.lake.rows(RECOMMENDATIONS, columns=["DISTINCT model_version"])
    return set(found["model_version"].to_pylist())


def _removed(folders: list[Place]) -> Iterator[str]:
    for folder in folders:
        remove_tree(folder)
        yield f"{folder.parent.name}: removed {folder.name}"
