"""A served row -> where it comes from: the interactions that weigh most, the rules that moved it, gates, versions.

The store's meta record names the night and the run; ops.stages and ops.gates tell the rest; the registered model says
what each interaction added to the score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightloom import settings as settings_module
from nightloom.contracts import STAGES
from nightloom.errors import UnknownUserError
from nightloom.lake import Lake
from nightloom.night import runs
from nightloom.night.runs import Judgement, StageRun
from nightloom.settings import Settings
from serving.causes import Cause, Word, by_words, causes
from serving.history import person
from serving.lineage import lineage, scored_by, trained
from serving.rule_attribution import Moved, in_popular, moved
from serving.stores import versions
from serving.stores.base import EVERYBODY
from serving.stores.reading import Reader, Snapshot

if TYPE_CHECKING:
    from models.base import Model

NOBODYS = "no interaction of this user: the list comes from what everybody likes"
SEGMENTS = f"{NOBODYS}, and from what is said of this user"
STRANGE = "the model does not know this item: a rule brought it, with the score of the user's last candidate"


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
    push: versions.Push
    scored: StageRun | None
    """What made the user's own list, perhaps on an earlier night: who did not change keeps their list."""
    rules: Moved
    causes: list[Cause]
    uncaused: str | None
    """Why there are no causes."""
    words: list[Word]
    """What is said of the user that moves the item, where the model takes that."""
    gates: dict[str, Judgement]
    stages: list[StageRun]
    tables: dict[str, int]
    """Version of each table that some stage of the night, or of the list's night, read."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: gates with their state."""
        whole = asdict(self)
        whole["gates"] = {name: asdict(gate) | {"state": gate.state} for name, gate in self.gates.items()}
        return whole


def explain(settings: Settings, reader: Reader, user: str, item: str) -> Explanation:
    """Walk one row of the version that the user is served back to the events.

    Raises UnknownUserError when it is not in their list, MissingTableError where the lake is not here.
    """
    snapshot, lake = reader.now(user), Lake(settings.place("lake"))
    lake.open(STAGES)  # without it nothing would be found, and that told as the truth
    own, meta = snapshot.get("users", user), snapshot.meta
    if own is not None and not own["items"]:
        own = None  # readers of an empty list get the popular one
    found = own or snapshot.get("popular", EVERYBODY) or {"items": [], "scores": []}
    source = "personal" if own else "popular"
    if item not in found["items"]:
        raise UnknownUserError(
            f"item {item} is not in the {source} list of user {user} in {versions.name(snapshot.version)}; "
            f"`nightloom recommend {user} --k {meta['stored']}` shows the whole list"
        )
    place, scored = found["items"].index(item), scored_by(lake, meta, user) if own else None
    made_of = lineage(lake, meta | {"model_version": (own or meta)["model_version"]})
    stages = runs.last_attempts([*made_of, *([scored] if scored else [])])
    rules, weighed, uncaused, words = (
        _of_own(settings, snapshot, own, scored, item) if own else (in_popular(settings, stages), [], NOBODYS, [])
    )
    return Explanation(
        user=user, item_id=item, title=snapshot.title(item), source=source, rank=place + 1, length=len(found["items"]),
        score=found["scores"][place], model=_model_words(stages, own or meta), meta=meta,
        push=versions.read(reader.store, snapshot.version), scored=scored, rules=rules, causes=weighed,
        uncaused=uncaused, words=words, gates=runs.with_gates(lake, date.fromisoformat(meta["night"])), stages=stages,
        tables=_tables([*stages, *([scored] if scored else [])], meta),
    )  # fmt: skip


def _of_own(
    settings: Settings, snapshot: Snapshot, own: dict[str, Any], scored: StageRun | None, item: str
) -> tuple[Moved, list[Cause], str | None, list[Word]]:
    """What rules, interactions and words did, by the versions that the list was made from, where these are recorded."""
    lake, model = Lake(settings.place("lake")), _model(settings.file, own["model_version"])
    night, reads = (str(scored.night), scored.reads) if scored else (snapshot.meta["night"], {})
    who = person(lake, own["user"], night, reads)
    rules = moved(settings, model, scored, who, item, own["items"].index(item) + 1)
    weighed, words = causes(lake, snapshot, model, who.events, item), by_words(model, who, item)
    if weighed:
        return rules, weighed, None, words
    return rules, weighed, STRANGE if item not in model.item_ids else SEGMENTS if words else NOBODYS, words


def _model_words(stages: list[StageRun], made: dict[str, Any]) -> str:
    names = {version: name for run in stages for version, name in trained(run).items()}
    return f"{names.get(made['model_version'], '')} version {made['model_version']}".strip()


def _tables(stages: list[StageRun], meta: dict[str, Any]) -> dict[str, int]:
    read = {name: version for run in stages for name, version in run.reads.items() if not name.startswith("ops.")}
    return dict(sorted((read | meta["inputs"]).items()))


@lru_cache(maxsize=2)
def _model(config: Path, version: str) -> Model:
    """The registered model, kept: the next explanation is then quick."""
    from models import registry

    return registry.load(settings_module.load(config), version)
