"""Exploration reserves places of each page for cold items, chosen at random. It applies after promotions."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nightloom.slate.checks import FewMissed, missed_places
from nightloom.slate.effects import ReservedPlaces
from nightloom.slate.rule import CompiledRule, SlateRule, share_of_page

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Exploration(SlateRule):
    """Places for cold items, so that they can be seen at all: chosen at random, another choice each night."""

    section: ClassVar = "exploration"
    order: ClassVar = 60
    effects: ClassVar = (ReservedPlaces,)
    breakable: ClassVar = "where no such item is left"
    example: ClassVar = """
[slate.exploration]
share = 0.25
most_events = 5
"""

    share: float = Field(gt=0, le=1)
    """Share of each page's places, at least one."""
    most_events: int = Field(5, ge=0)
    """An item with so many interactions or fewer is cold."""

    @property
    def explanation(self) -> str:
        return f"{100 * self.share:g} % of each page for items with {self.most_events} interactions or fewer, at random"

    @property
    def _cold(self) -> str:
        return f"events <= {self.most_events}"

    def reserved_places(self, k: int) -> int:
        return share_of_page(self.share, k)

    def compile(self, compilation: Compilation) -> CompiledRule:
        cold = compilation.items.flags(self._cold)
        member = cold & compilation.items.available
        reserved = ReservedPlaces(member, self.reserved_places(compilation.k), spread=True, at_random=True)
        return CompiledRule(self.rule_name, int(cold.sum()), (reserved,))

    def check(self, k: int, night: date) -> FewMissed:
        return missed_places(self._cold, self.reserved_places(k), k)
