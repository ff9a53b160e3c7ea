"""A served row -> what the slate rules did to it: its list is made anew from the versions that its night read.

Where that cannot be done, or gives another list than the one served, it says so and accounts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nightloom.contracts import ITEM_STATS, ITEMS
from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.night.records import StageRun
from nightloom.settings import Settings
from serving.history import UserProfile

if TYPE_CHECKING:
    from models.base import Model
    from serving.replay import Move, Replay


@dataclass(frozen=True)
class Moved:
    """What the rules of its night did to one row."""

    known: bool
    note: str = ""
    """What else there is to say; why nothing is known, where that is so."""
    by_score: int | None = None
    """Rank by score alone; None: not known, or not among the user's best, from which the rules choose."""
    moves: list[Move] = field(default_factory=list)
    """The rules that changed its rank, in the order in which they apply."""


def moved(settings: Settings, model: Model, run: StageRun | None, who: UserProfile, item: str, rank: int) -> Moved:
    """Of a user's own list, which `run` scored by `model`; `rank` is the one served, from 1."""
    if run is None:
        return Moved(False, f"no run of {stages.RECOMMENDATIONS.name} is recorded that made this list")
    if "rules" not in run.tags:
        return Moved(True, f"the lists of {run.night} were made without slate rules", rank)
    from nightloom.slate import compile as slate_plan  # numba, DuckDB, torch: only where there are rules
    from serving.replay import replay

    versions = run.reads[ITEMS.full_name], run.reads[ITEM_STATS.full_name]
    plan = slate_plan.plan(Lake(settings.place("lake")), settings, run.night, *versions)
    if plan.digest != run.tags["rules"]:
        return Moved(False, f"nightloom.toml or the code has changed since {run.night} (settings {run.config}, now "
                     f"{settings.digest}), so what its rules did cannot be replayed")  # fmt: skip
    made = replay(settings, model, plan, who)
    if (place := made.place(item)) != rank:
        found = f"has it at rank {place}" if place else "does not have it"
        return Moved(
            False, f"made anew, the list {found}, and it was served at {rank}: what the rules did is not known"
        )
    return _told(made, item)


def _told(made: Replay, item: str) -> Moved:
    by_score, moves = made.by_score(item), made.moves(item)
    beyond = f"by score alone it is not among the user's {made.plan.pool} best, from which the rules choose"
    return Moved(True, "" if by_score and moves else beyond if moves else "no rule moved it", by_score, moves)


def in_popular(settings: Settings, runs: list[StageRun]) -> Moved:
    """Of the popular list, as far as is known."""
    run = next((run for run in runs if run.stage == stages.POPULAR.name), None)
    if run is None:
        return Moved(False, f"no run of {stages.POPULAR.name} is recorded that made this list")
    if run.config != settings.digest:
        return Moved(False, f"nightloom.toml has changed since {run.night} (settings {run.config}, now "
                     f"{settings.digest}); of the rules just filters apply to the popular list")  # fmt: skip
    filters = ", ".join(rule.name for rule in settings.slate.filters)
    words = f"{filters}; what these took is not kept" if filters else "there are none"
    return Moved(True, f"of the rules just filters apply to the popular list: {words}")
