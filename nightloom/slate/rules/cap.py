"""Caps allow at most so many of a category, provider or series. They apply after boosts; no later rule breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from nightloom.slate.checks import ENTRIES, NoRows
from nightloom.slate.described import CATEGORY, condition, values_of
from nightloom.slate.effects import AtMost
from nightloom.slate.item_values import ItemValues
from nightloom.slate.rule import AttributeName, CompiledRule, NamedRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation

LONGEST = 2**31
"""More places than any list has."""


class Cap(NamedRule):
    """At most so many of a category, provider or series. Never broken: where nothing else is left, the list ends."""

    section: ClassVar = "caps"
    order: ClassVar = 30
    effects: ClassVar = (AtMost,)
    breakable: ClassVar = "never: the list ends sooner"
    example: ClassVar = """
[[slate.caps]]
name = "one_of_a_provider"
by = "provider"
at_most = 1
"""

    by: str | None = None
    """`category` or an attribute of items: each value is counted by itself. Left out: all that meet `when` together."""
    when: str = "true"
    """Only such items are counted."""
    at_most: int = Field(ge=1)
    """How many."""
    within: Literal["page", "list"] = "page"
    """On each page, or in the whole list: one of a series is by = "series", at_most = 1, within = "list"."""

    @property
    def explanation(self) -> str:
        of = f"of each {self.by}" if self.by else f"of the items with {self.when}"
        counted = f", among items with {self.when}" if self.by and self.when != "true" else ""
        return f"at most {self.at_most} {of} {'on a page' if self.within == 'page' else 'in the list'}{counted}"

    def attribute_names(self) -> Iterator[AttributeName]:
        if self.by is not None:
            yield AttributeName("by", self.by, columns=(CATEGORY,))

    def compile(self, compilation: Compilation) -> CompiledRule:
        met, items = compilation.meeting(self.when), compilation.items
        every = items.values(values_of(self.by)) if self.by else items.one_value()
        counted = met[every.owners]
        groups = ItemValues.from_pairs(every.owners[counted], every.values[counted], len(met), every.names)
        return CompiledRule(self.name, int(met.sum()), (AtMost(groups, self.at_most, self.within == "list"),))

    def check(self, k: int, night: date) -> NoRows:
        values = values_of(self.by) if self.by else "['all']"
        page = f"place // {k if self.within == 'page' else LONGEST}"
        return NoRows(f"""SELECT 1 FROM {ENTRIES} JOIN
            (SELECT item_id, unnest(list_distinct({values})) AS value FROM described WHERE {condition(self.when)})
            USING (item_id) WHERE value <> '' GROUP BY user_id, {page}, value HAVING count(*) > {self.at_most}""",
            "pages or lists over the cap")  # fmt: skip
