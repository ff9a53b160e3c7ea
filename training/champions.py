"""Who is champion: MLflow's alias, and every change of it in ops.champions, with who did it and why.

The row is written first: a run that dies before the alias moves is made good by running it again.
"""

from collections.abc import Sequence
from typing import Any

from models import registry
from models.registry import CHAMPION, Registered, RegistryError
from nightloom.contracts import CHAMPIONS
from nightloom.lake import Lake, now
from nightloom.settings import Settings

Change = dict[str, Any]
"""A row of ops.champions."""


def changes(lake: Lake) -> list[Change]:
    """Every change of the champion, oldest first."""
    found = lake.rows(CHAMPIONS, "true ORDER BY changed_at").to_pylist() if lake.exists(CHAMPIONS) else []
    return list(found)


def promote(settings: Settings, version: str, *, by: str, why: str, run_id: str) -> Change:
    """Make a version the champion. Raises RegistryError where there is no such version, or it is champion already."""
    new, old = registry.registered(settings, version), registry.champion(settings)
    if old and old.version == new.version:
        raise RegistryError(f"version {version} ({new.name}) is champion already; `nightloom model history` says why")
    return _move(settings, "promoted", new, old, by=by, why=why, run_id=run_id)


def demote(settings: Settings, *, by: str, why: str, run_id: str) -> Change:
    """Give the place back to the champion before. Raises RegistryError where none is recorded."""
    old = registry.champion(settings)
    before = [each for each in reign(changes(_lake(settings))) if old is None or each != old.version]
    if old is None or not before:
        raise RegistryError("no earlier champion is in ops.champions; `nightloom model promote VERSION` makes one")
    return _move(settings, "demoted", registry.registered(settings, before[-1]), old, by=by, why=why, run_id=run_id)


def _move(
    settings: Settings, action: str, new: Registered, old: Registered | None, *, by: str, why: str, run_id: str
) -> Change:
    change = {
        "run_id": run_id, "changed_at": now(), "action": action, "version": new.version, "model": new.name,
        "previous_version": old.version if old else None, "by": by, "why": why,
    }  # fmt: skip
    _lake(settings).append(CHAMPIONS, [change])
    registry.set_alias(settings, CHAMPION, new.version)
    return change


def _lake(settings: Settings) -> Lake:
    return Lake(settings.place("lake"))


def reign(rows: Sequence[Change]) -> list[str]:
    """Versions that a demotion may go back to, the newest last: promoted, and not demoted since."""
    stack: list[str] = []
    for row in rows:
        left = {row["version"], row["previous_version"]} if row["action"] == "demoted" else {row["version"]}
        stack = [each for each in stack if each not in left] + [row["version"]]
    return stack


def demoted(rows: Sequence[Change]) -> set[str]:
    """Versions that a person took back and nobody has promoted since: no gate promotes them again."""
    found: set[str] = set()
    for row in rows:
        found = (found | {row["previous_version"]} if row["action"] == "demoted" else found) - {row["version"]}
    return found
