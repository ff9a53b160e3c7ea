"""Boosts move candidates up or down, for good or less each day. They apply after filters; they bring in no items."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from nightloom.literals import sql_name
from nightloom.slate.effects import RelevanceAddition
from nightloom.slate.rule import AttributeName, CompiledRule, NamedRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Boost(NamedRule):
    """Candidates that are moved up, or down, for good or less each day."""

    section: ClassVar = "boosts"
    order: ClassVar = 20
    effects: ClassVar = (RelevanceAddition,)
    breakable: ClassVar = ""
    example: ClassVar = """
[[slate.boosts]]
name = "new_in"
when = "'Drama' IN categories"
add = 0.3
since = "released"
half_life_days = 30
"""

    when: str = "true"
    """Condition on the item, as in a filter."""
    add: float
    """What is added to the relevance, which is 1 for a user's best candidate and 0 for the last; less than 0 moves
    down."""
    since: str | None = None
    """Date or time of the item from which on the boost decays: an attribute, or first_at or updated_at."""
    half_life_days: float | None = Field(None, gt=0)
    """After so many days half of the boost is left; an item without the date in `since` gets none."""

    @model_validator(mode="after")
    def _decays_since(self) -> Self:
        if (self.since is None) != (self.half_life_days is None):
            raise ValueError("a boost that decays has both since and half_life_days")
        return self

    @property
    def explanation(self) -> str:
        decay = f", half of it {self.half_life_days:g} days after {self.since}" if self.half_life_days else ""
        return f"adds {self.add:g} to the relevance of items with {self.when}{decay}"

    def attribute_names(self) -> Iterator[AttributeName]:
        if self.since is not None:
            yield AttributeName("since", self.since, columns=("first_at", "updated_at"))

    def compile(self, compilation: Compilation) -> CompiledRule:
        import numpy as np

        met = compilation.meeting(self.when)
        add = np.where(met, self.add, 0.0)
        if self.since is not None:
            since = f"TRY_CAST({sql_name(self.since)} AS TIMESTAMPTZ)"
            end = f"TIMESTAMPTZ '{compilation.night} 23:59:59+00'"
            age = f"coalesce(date_diff('second', {since}, {end}) / 86400.0, 'nan'::DOUBLE)"
            days = compilation.items.column(age).to_numpy()
            decayed = 0.5 ** (np.maximum(days, 0) / (self.half_life_days or 1))
            add = np.where(np.isnan(days), 0, add * decayed)
        return CompiledRule(self.name, int(met.sum()), (RelevanceAddition(add.astype(np.float32)),))

    def check(self, k: int, night: date) -> None:
        """Nothing: any order may come of a boost."""
