"""Promotions reserve a share of each page for some items, for some users and days. They apply after floors."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nightloom.slate.checks import FewMissed, missed_places
from nightloom.slate.effects import ReservedPlaces
from nightloom.slate.rule import AudienceRule, CompiledRule, share_of_page

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Promotion(AudienceRule):
    """A share of each page for some items, spread over it, each user's best of them."""

    section: ClassVar = "promotions"
    order: ClassVar = 50
    effects: ClassVar = (ReservedPlaces,)
    breakable: ClassVar = "where no such item is left"
    example: ClassVar = """
[[slate.promotions]]
name = "our_own"
when = "provider = 'us'"
share = 0.25
users = { market = "DE" }
"""

    when: str
    """Condition on the item."""
    share: float = Field(gt=0, le=1)
    """Share of a page's places, at least one."""

    @property
    def explanation(self) -> str:
        return f"{100 * self.share:g} % of each page for items with {self.when}{self.audience_words}"

    def reserved_places(self, k: int) -> int:
        return share_of_page(self.share, k)

    def compile(self, compilation: Compilation) -> CompiledRule:
        met = compilation.meeting(self.when)
        places = self.reserved_places(compilation.k) if self.holds_on(compilation.night) else 0
        member = met & compilation.items.available
        reserved = ReservedPlaces(member, places, spread=True, users=self.audience)
        return CompiledRule(self.name, int(met.sum()), (reserved,))

    def check(self, k: int, night: date) -> FewMissed | None:
        return missed_places(self.when, self.reserved_places(k), k, self.users) if self.holds_on(night) else None
