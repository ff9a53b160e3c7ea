"""The champion: MLflow's alias, and the log of its changes in ops.champions, each with a person and a reason.

The row is written before the alias moves: if a run dies in between, running it again moves the alias.
"""

from collections.abc import Sequence
from typing import Any

from models import registry
from models.registry import CHAMPION, REFIT_OF, RegisteredVersion, RegistryError
from nightloom.contracts import CHAMPIONS
from nightloom.lake import Lake, now
from nightloom.settings import Settings
from training import registration

Change = dict[str, Any]
"""A row of ops.champions."""


def changes(lake: Lake) -> list[Change]:
    """Every change of the champion, oldest first."""
    rows = lake.rows(CHAMPIONS, "true ORDER BY changed_at").to_pylist() if lake.exists(CHAMPIONS) else []
    return list(rows)


def promote(settings: Settings, version: str, *, by: str, why: str, run_id: str) -> Change:
    """Make a version the champion.

    Raises RegistryError if the version does not exist, is the champion already, or is a refit.
    """
    new, old = registry.find_version(settings, version), registry.champion(settings)
    if judged := new.tags.get(REFIT_OF):
        raise RegistryError(f"version {version} is a refit of version {judged}; promote that one, and the refit serves")
    if old and old.version == new.version:
        raise RegistryError(f"version {version} ({new.name}) is champion already; `nightloom model history` says why")
    return _set_champion(settings, "promoted", new, old, by=by, why=why, run_id=run_id)


def demote(settings: Settings, *, by: str, why: str, run_id: str) -> Change:
    """Make the previous champion the champion again. Raises RegistryError if none is recorded."""
    old = registry.champion(settings)
    versions = promoted_versions(changes(_lake(settings)))
    previous = [version for version in versions if old is None or version != old.version]
    if old is None or not previous:
        raise RegistryError("no earlier champion is in ops.champions; `nightloom model promote VERSION` makes one")
    new = registry.find_version(settings, previous[-1])
    return _set_champion(settings, "demoted", new, old, by=by, why=why, run_id=run_id)


def _set_champion(
    settings: Settings,
    action: str,
    new: RegisteredVersion,
    old: RegisteredVersion | None,
    *,
    by: str,
    why: str,
    run_id: str,
) -> Change:
    change = {
        "run_id": run_id, "changed_at": now(), "action": action, "version": new.version, "model": new.name,
        "previous_version": old.version if old else None, "by": by, "why": why,
    }  # fmt: skip
    _lake(settings).append(CHAMPIONS, [change])
    registration.set_alias(settings, CHAMPION, new.version)
    return change


def _lake(settings: Settings) -> Lake:
    return Lake(settings.place("lake"))


def promoted_versions(rows: Sequence[Change]) -> list[str]:
    """Versions that were promoted and not demoted since, the newest last: a demotion can go back to them."""
    versions: list[str] = []
    for row in rows:
        removed = {row["version"], row["previous_version"]} if row["action"] == "demoted" else {row["version"]}
        versions = [version for version in versions if version not in removed] + [row["version"]]
    return versions


def demoted_versions(rows: Sequence[Change]) -> set[str]:
    """Versions that a person demoted and nobody promoted since: no gate promotes them again."""
    versions: set[str] = set()
    for row in rows:
        demoted = {row["previous_version"]} if row["action"] == "demoted" else set()
        versions = (versions | demoted) - {row["version"]}
    return versions
