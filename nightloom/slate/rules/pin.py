"""Pins put one item at one place, for some users and days. They apply after all rules that reserve places."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nightloom.slate.checks import FewMissed, missed_pin
from nightloom.slate.effects import PinnedPlace
from nightloom.slate.rule import AudienceRule, CompiledRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Pin(AudienceRule):
    """One item at one place, unless the user has seen it, a filter hides it or a cap forbids it."""

    section: ClassVar = "pins"
    order: ClassVar = 70
    effects: ClassVar = (PinnedPlace,)
    breakable: ClassVar = "when seen, hidden or capped"
    example: ClassVar = """
[[slate.pins]]
name = "item_of_the_week"
item = "h"
place = 1
"""

    item: str
    """The item's id."""
    place: int = Field(ge=1)
    """Place in the list, the first is 1."""

    @property
    def explanation(self) -> str:
        return f"item {self.item} at place {self.place}{self.audience_words}"

    def misfit(self, k: int, stored: int) -> str | None:
        return f"whose place is beyond stored = {stored}" if self.place > stored else None

    def compile(self, compilation: Compilation) -> CompiledRule:
        items = compilation.items
        number = items.ids.index(self.item).as_py()
        if number < 0:
            compilation.warn("item", f"pins the item '{self.item}', which silver.items does not have")
        shown = number >= 0 and items.available[number] and self.holds_on(compilation.night)
        pinned = PinnedPlace(number if shown else -1, self.place - 1, self.audience)
        return CompiledRule(self.name, int(number >= 0), (pinned,))

    def check(self, k: int, night: date) -> FewMissed | None:
        return missed_pin(self.item, self.place, self.users) if self.holds_on(night) else None
