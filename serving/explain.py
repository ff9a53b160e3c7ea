"""A served row -> where it comes from: the interactions that weigh most, model, tables, code, gates, push.

The store's meta record names the night and the run; ops.stages and ops.gates tell the rest; the registered model says
what each interaction added to the score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightloom import settings as settings_module
from nightloom.errors import UnknownUserError
from nightloom.lake import Lake
from nightloom.settings import Settings
from nightloom.tables import HISTORIES, INTERACTIONS
from serving import runs
from serving.runs import Judgement, StageRun
from serving.stores import versions
from serving.stores.base import EVERYBODY
from serving.stores.reading import Reader, Snapshot

if TYPE_CHECKING:
    from training.models.base import Model

SCORING, TRAINING, JUDGING = "spark_jobs.gold_recommendations", "training.train", "training.model_gate"
MOST_CAUSES = 5


@dataclass(frozen=True)
class Cause:
    """One interaction and what it did for the score; `share` is of all that speaks for the item, negative: against."""

    item_id: str
    title: str
    at: datetime
    event: str
    value: float | None
    share: float


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
    causes: list[Cause] = field(default_factory=list)
    gates: dict[str, Judgement] = field(default_factory=dict)
    stages: list[StageRun] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    """Version of each table that some stage of the night read."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: gates with their state."""
        whole = asdict(self)
        whole["gates"] = {name: asdict(gate) | {"state": gate.state} for name, gate in self.gates.items()}
        return whole


def explain(settings: Settings, reader: Reader, user: str, item: str) -> Explanation:
    """Walk one row of the served version back to the events. Raises UnknownUserError when it is not in the list."""
    snapshot = reader.now()
    lake, meta = Lake(settings.place("lake")), snapshot.meta
    own = snapshot.get("users", user)
    if own is not None and not own["items"]:
        own = None  # readers of an empty list get the popular one
    found = own if own is not None else snapshot.get("popular", EVERYBODY) or {"items": [], "scores": []}
    source = "personal" if own is not None else "popular"
    if item not in found["items"]:
        raise UnknownUserError(
            f"item {item} is not in the {source} list of user {user} in {versions.name(snapshot.version)}; "
            f"`nightloom recommend {user} --k {meta['stored']}` shows the whole list"
        )
    rank, stages = found["items"].index(item), lineage(lake, meta)
    return Explanation(
        user=user, item_id=item, title=snapshot.title(item), source=source, rank=rank + 1, length=len(found["items"]),
        score=found["scores"][rank], model=_model_words(stages, meta), meta=meta,
        push=versions.read(reader.store, snapshot.version),
        causes=causes(settings, snapshot, stages, user, item, own["model_version"]) if own is not None else [],
        gates=runs.with_gates(lake, date.fromisoformat(meta["night"])), stages=stages, tables=_tables(stages, meta),
    )  # fmt: skip


def lineage(lake: Lake, meta: dict[str, Any]) -> list[StageRun]:
    """Stages that made a version: each one's last good attempt of its night before the publish, and the training."""
    published = f"started_at <= TIMESTAMP '{meta['published_at']}'"
    good = runs.stage_runs(lake, f"status = 'ok' AND night <= DATE '{meta['night']}' AND {published}")
    model = [run for run in good if meta["model_version"] in (run.facts.get("model_version"), *_trained(run))]
    of_night = [run for run in good if str(run.night) == meta["night"] and run.stage != TRAINING]
    return runs.last_attempts([*(run for run in model if run.stage in (TRAINING, JUDGING)), *of_night])


def _trained(run: StageRun) -> dict[str, str]:
    """Version -> name of the models that a run trained, from its fact `models`: "als 2, sequence 3"."""
    pairs = [model.rsplit(" ", 1) for model in run.facts.get("models", "").split(", ") if " " in model]
    return {version: name for name, version in pairs}


def _model_words(stages: list[StageRun], meta: dict[str, Any]) -> str:
    names = {version: name for run in stages for version, name in _trained(run).items()}
    return f"{names.get(meta['model_version'], '')} version {meta['model_version']}".strip()


def _tables(stages: list[StageRun], meta: dict[str, Any]) -> dict[str, int]:
    read = {name: version for run in stages for name, version in run.reads.items() if not name.startswith("ops.")}
    return dict(sorted((read | meta["inputs"]).items()))


def causes(
    settings: Settings, snapshot: Snapshot, stages: list[StageRun], user: str, item: str, model_version: str
) -> list[Cause]:
    """The interactions that weigh most in one score, by the model that gave it; none when nothing is liked yet."""
    from training.models.base import Histories, positions  # torch and MLflow: only when somebody asks

    lake = Lake(settings.place("lake"))
    scored_from = next((run.reads.get(HISTORIES.full_name) for run in stages if run.stage == SCORING), None)
    history = history_of(lake, snapshot.meta["night"], user, scored_from)
    model = _model(settings.file, model_version)
    index = positions(model.item_ids)
    used = [event for event in history if event["weight"] > 0 and event["item_id"] in index]
    if not used or item not in index:
        return []
    one = Histories.from_lists(
        model.item_ids, [[event["item_id"] for event in used]], [[event["weight"] for event in used]],
        [[int(event["at"].timestamp()) for event in used]],
    )  # fmt: skip
    parts = [float(part) for part in model.contributions(one, index[item])]
    support = sum(part for part in parts if part > 0)
    if not support:
        return []
    top = sorted(zip(parts, used, strict=True), key=lambda pair: -pair[0])[:MOST_CAUSES]
    return _told(lake, snapshot, [(part / support, event) for part, event in top])


def history_of(lake: Lake, night: str, user: str, version: int | None = None) -> list[dict[str, Any]]:
    """A user's interactions up to a night, oldest first: item_id, weight, at, event_id. Unknown user: none."""
    if not lake.exists(HISTORIES):
        return []
    quoted = user.replace("'", "''")
    rows = lake.rows(HISTORIES, f"week <= DATE '{night}' AND user_id = '{quoted}'", version=version).to_pylist()
    names = ("item_id", "weight", "at", "event_id")
    weeks = sorted(rows, key=lambda row: row["week"])
    lists = [zip(row["items"], row["weights"], row["at"], row["event_ids"], strict=True) for row in weeks]
    events = [dict(zip(names, event, strict=True)) for week in lists for event in week]
    return [event for event in events if event["at"].date() <= date.fromisoformat(night)]


def _told(lake: Lake, snapshot: Snapshot, weighed: list[tuple[float, dict[str, Any]]]) -> list[Cause]:
    """Add to each event what it was, from silver.interactions."""
    ids = ", ".join("'" + event["event_id"].replace("'", "''") + "'" for _, event in weighed)
    rows = lake.rows(INTERACTIONS, f"event_id IN ({ids})", ("event_id", "event", "value")).to_pylist()
    told = {row["event_id"]: row for row in rows}
    return [
        Cause(
            event["item_id"], snapshot.title(event["item_id"]), event["at"],
            told.get(event["event_id"], {}).get("event", "erased"), told.get(event["event_id"], {}).get("value"), share,
        )
        for share, event in weighed
    ]  # fmt: skip


@lru_cache(maxsize=2)
def _model(config: Path, version: str) -> Model:
    """The registered model, kept: the next explanation is then quick."""
    from training import registry

    return registry.load(settings_module.load(config), version)
