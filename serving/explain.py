"""A served row -> its origin: the interactions that contribute most, the rules that moved it, gates, versions.

The store's meta record names the night and the run. The run records give stages, gates and table versions; the
registered model gives the contribution of each interaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightloom import settings as settings_module
from nightloom.errors import UnknownUserError
from nightloom.lake import Lake
from nightloom.night import records
from nightloom.night.records import GateResult, StageRun
from nightloom.settings import Settings
from serving.contributions import AttributeEffect, Cause, attribute_effects, find_causes
from serving.history import read_profile
from serving.lineage import lineage, scoring_run
from serving.rule_attribution import Attribution, attribute_popular_rank, attribute_rank
from serving.stores import versions
from serving.stores.base import EVERYBODY
from serving.stores.pushes import NO_MODEL, Push, version_name
from serving.stores.reader import Reader, Snapshot

if TYPE_CHECKING:
    from models.base import Model

NOTHING_LEFT = "no item is left for this user, who has seen them or may not see them: this is what everybody likes"
NO_INTERACTIONS = "no interaction of this user: the list comes from what everybody likes"
FROM_ATTRIBUTES = f"{NO_INTERACTIONS}, and from this user's attributes"
UNKNOWN_ITEM = "the model does not know this item: a rule brought it, with the score of the user's last candidate"


@dataclass(frozen=True)
class Explanation:
    """Why a user is shown an item."""

    user: str
    item_id: str
    title: str
    source: str
    rank: int
    length: int
    score: float
    model: str
    """Name and version."""
    meta: dict[str, Any]
    push: Push
    scored: StageRun | None
    """The run that scored the user's own list, perhaps on an earlier night: unchanged users keep their list."""
    rules: Attribution
    causes: list[Cause]
    uncaused: str | None
    """The reason why there are no causes."""
    attributes: list[AttributeEffect]
    """The user's attributes that move the item, where the model takes attributes."""
    gates: dict[str, GateResult]
    stages: list[StageRun]
    tables: dict[str, int]
    """Versions of the tables that the stages of the night, and of the list's night, read."""

    def as_dict(self) -> dict[str, Any]:
        """The explanation as the API gives it: gates with their state, attributes under `words`."""
        fields = asdict(self)
        fields["words"] = [
            {"word": effect["attribute"], "before": effect["before"], "after": effect["after"]}
            for effect in fields.pop("attributes")
        ]
        fields["gates"] = {name: gate.as_dict() for name, gate in self.gates.items()}
        return fields


def build_explanation(settings: Settings, reader: Reader, user: str, item: str) -> Explanation:
    """Trace one row of the version that the user is served back to its events.

    Raises UnknownUserError when the item is not in their list, MissingTableError where this machine has no lake.
    """
    snapshot, lake = reader.current(user), Lake(settings.place("lake"))
    records.require(lake)  # without them the explanation would wrongly say that nothing was found
    stored, meta = snapshot.get("users", user), snapshot.meta
    own = stored if stored and stored["items"] else None  # readers of an empty list get the popular list
    found = own or snapshot.get("popular", EVERYBODY) or {"items": [], "scores": []}
    source = "personal" if own else "popular"
    if item not in found["items"]:
        raise UnknownUserError(
            f"item {item} is not in the {source} list of user {user} in {version_name(snapshot.version)}; "
            f"`nightloom recommend {user} --k {meta['stored']}` shows the whole list"
        )
    place, scored = found["items"].index(item), scoring_run(lake, meta, user) if own else None
    made_of = lineage(lake, meta | {"model_version": (own or meta)["model_version"]})
    stages = records.last_attempts([*made_of, *([scored] if scored else [])])
    rules, weighed, uncaused, attributes = (
        _explain_personal(settings, snapshot, own, scored, item)
        if own
        else (attribute_popular_rank(settings, stages), [], NOTHING_LEFT if stored else NO_INTERACTIONS, [])
    )
    return Explanation(
        user=user, item_id=item, title=snapshot.title(item), source=source, rank=place + 1, length=len(found["items"]),
        score=found["scores"][place], model=_model_label(stages, own or meta), meta=meta,
        push=versions.read_push(reader.store, snapshot.version), scored=scored, rules=rules, causes=weighed,
        uncaused=uncaused, attributes=attributes,
        gates=records.gate_results_up_to(lake, date.fromisoformat(meta["night"])),
        stages=stages, tables=_table_versions([*stages, *([scored] if scored else [])], meta),
    )  # fmt: skip


def _explain_personal(
    settings: Settings, snapshot: Snapshot, own: dict[str, Any], scored: StageRun | None, item: str
) -> tuple[Attribution, list[Cause], str | None, list[AttributeEffect]]:
    """The effects of rules, interactions and attributes, at the recorded versions that the list was made from."""
    lake, model = Lake(settings.place("lake")), _model(settings.file, own["model_version"])
    night, reads = (str(scored.night), scored.reads) if scored else (snapshot.meta["night"], {})
    who = read_profile(lake, own["user"], night, reads)
    rules = attribute_rank(settings, model, scored, who, item, own["items"].index(item) + 1)
    weighed, attributes = find_causes(lake, snapshot, model, who.events, item), attribute_effects(model, who, item)
    if weighed:
        return rules, weighed, None, attributes
    return (
        rules,
        weighed,
        UNKNOWN_ITEM if item not in model.item_ids else FROM_ATTRIBUTES if attributes else NO_INTERACTIONS,
        attributes,
    )


def _model_label(stages: list[StageRun], made: dict[str, Any]) -> str:
    if made["model_version"] == NO_MODEL:
        return "none is champion yet"
    version, names = made["model_version"], {v: name for run in stages for v, name in run.trained_models.items()}
    judged = next((run.refit_of for run in stages if run.refit_of and run.model_version == version), None)
    label = f"{names.get(judged or version, '')} version {version}".strip()
    return f"{label}, the refit of version {judged} on all days" if judged else label


def _table_versions(stages: list[StageRun], meta: dict[str, Any]) -> dict[str, int]:
    read = {name: version for run in stages for name, version in run.reads.items() if not name.startswith("ops.")}
    return dict(sorted((read | meta["inputs"]).items()))


def prepare(settings: Settings, snapshot: Snapshot) -> None:
    """Load what the next explanation of a version needs: the models that scored its lists."""
    if snapshot.meta["model_version"] != NO_MODEL:
        for version in snapshot.meta["model_version"].split(", "):
            _model(settings.file, version)


@lru_cache(maxsize=2)
def _model(config: Path, version: str) -> Model:
    """The registered model, cached: the next explanation is quick."""
    from models import registry

    return registry.load_version(settings_module.load(config), version)
