"""Floors reserve places of each page for a kind of item. They apply after caps."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nightloom.slate.checks import FewMissed, missed_places
from nightloom.slate.effects import ReservedPlaces
from nightloom.slate.rule import CompiledRule, NamedRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Floor(NamedRule):
    """At least so many of a kind on each page, as far as there are any; they stand where their scores put them."""

    section: ClassVar = "floors"
    order: ClassVar = 40
    effects: ClassVar = (ReservedPlaces,)
    breakable: ClassVar = "where no such item is left"
    example: ClassVar = """
[[slate.floors]]
name = "documentaries"
when = "'Documentary' IN categories"
at_least = 1
"""

    when: str
    """Condition on the item."""
    at_least: int = Field(ge=1)
    """Places of a page."""

    @property
    def explanation(self) -> str:
        return f"at least {self.at_least} of the items with {self.when} on a page"

    def reserved_places(self, k: int) -> int:
        return self.at_least

    def compile(self, compilation: Compilation) -> CompiledRule:
        met = compilation.meeting(self.when)
        member = met & compilation.items.available
        return CompiledRule(self.name, int(met.sum()), (ReservedPlaces(member, self.at_least, spread=False),))

    def check(self, k: int, night: date) -> FewMissed:
        return missed_places(self.when, self.at_least, k)
