"""Which registered model scores a night: the champion's, the one that the night was published with, or a named one."""

from __future__ import annotations

from typing import Any

from models.registry import (
    CHAMPION,
    REFIT_OF,
    RegisteredVersion,
    RegistryError,
    find_version,
    oldest_version,
    serving_version,
)
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.model_version import model_version

AS_PUBLISHED = "as-published"
MODEL: dict[str, Any] = {
    "--model": {"default": CHAMPION, "help": f"{CHAMPION} (default), {AS_PUBLISHED} or a version"},
}
"""A stage's option."""


NO_CHAMPION = "nobody: no model is champion, so this night has the popular lists alone"


def night_model(night: Night) -> RegisteredVersion | None:
    """The model that `--model` asks for; None where this is the champion and there is none yet.

    Raises RegistryError when there is no such version.
    """
    asked = vars(night.arguments).get("model") or CHAMPION
    found: RegisteredVersion | None
    if asked == CHAMPION:
        found = serving_version(night.settings)
        judged = found.tags.get(REFIT_OF) if found else None
        why = f"it is the refit of the champion, version {judged}" if judged else "it is the champion"
    elif asked != AS_PUBLISHED:
        found, why = find_version(night.settings, asked), "it was asked for"
    elif (known := model_version(night.lake, night.date)) is not None:
        found, why = find_version(night.settings, known.version), known.reason
    else:
        found, why = oldest_version(night.settings), "it is the oldest: no champion is known of that day"
    if found is None and asked == CHAMPION:
        night.tags["scored"] = NO_CHAMPION
        print(f"{night.stage}: scored {NO_CHAMPION}")
        return None
    if found is None:
        name = night.settings.project.name
        raise RegistryError(f"model {name} has no champion yet; run {stages.TRAIN.name}, then {stages.MODEL_GATE.name}")
    print(f"{night.stage}: model version {found.version}; {why}")
    return found
