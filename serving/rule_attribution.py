"""A served row -> what the slate rules did to it: its list is rebuilt from the versions that its night read.

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

POPULAR_RULES = "only rules that hide items apply to the popular list"


@dataclass(frozen=True)
class Attribution:
    """What the rules of its night did to one row."""

    known: bool
    note: str = ""
    """What else there is to say; why nothing is known, where that is so."""
    by_score: int | None = None
    """Rank by score alone; None: not known, or not among the user's best, from which the rules choose."""
    moves: list[Move] = field(default_factory=list)
    """The rules that changed its rank, in the order in which they apply."""


def attribute_rank(
    settings: Settings, model: Model, run: StageRun | None, who: UserProfile, item: str, rank: int
) -> Attribution:
    """What the rules did to an item of a user's own list, which `run` scored by `model`; `rank` is the one served."""
    if run is None:
        return Attribution(False, f"no run of {stages.RECOMMENDATIONS.name} is recorded that made this list")
    if "rules" not in run.tags:
        return Attribution(True, f"the lists of {run.night} were made without slate rules", rank)
    from nightloom.lake.described_items import compile_slate  # numba, DuckDB, torch: only where there are rules
    from serving.replay import replay_list

    versions = run.reads[ITEMS.full_name], run.reads[ITEM_STATS.full_name]
    plan = compile_slate(Lake(settings.place("lake")), settings, run.night, *versions)
    if plan.digest != run.tags["rules"]:
        return Attribution(
            False,
            f"nightloom.toml or the code has changed since {run.night} (settings {run.config}, now "
            f"{settings.digest}), so what its rules did cannot be replayed",
        )
    replayed = replay_list(settings, model, plan, who)
    if (place := replayed.place(item)) != rank:
        found = f"has it at rank {place}" if place else "does not have it"
        return Attribution(
            False, f"rebuilt, the list {found}, and it was served at {rank}: what the rules did is not known"
        )
    return _attribution(replayed, item)


def _attribution(replayed: Replay, item: str) -> Attribution:
    by_score, moves = replayed.by_score(item), replayed.moves(item)
    beyond = f"by score alone it is not among the user's {replayed.plan.pool} best, from which the rules choose"
    return Attribution(True, "" if by_score and moves else beyond if moves else "no rule moved it", by_score, moves)


def attribute_popular_rank(settings: Settings, runs: list[StageRun]) -> Attribution:
    """Which rules apply to the popular list, as far as is known."""
    run = next((run for run in runs if run.stage == stages.POPULAR.name), None)
    if run is None:
        return Attribution(False, f"no run of {stages.POPULAR.name} is recorded that made this list")
    if run.config != settings.digest:
        return Attribution(
            False,
            f"nightloom.toml has changed since {run.night} (settings {run.config}, now {settings.digest}); "
            + POPULAR_RULES,
        )
    names = ", ".join(settings.slate.hiding_rules)
    words = f"{names}; which items these hid is not recorded" if names else "there are none"
    return Attribution(True, f"{POPULAR_RULES}: {words}")
