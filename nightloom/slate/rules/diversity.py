"""Diversity (maximal marginal relevance, Carbonell and Goldstein 1998) mixes each page. It applies last.

It makes no list longer or shorter. At each place it takes the item with the highest
`relevance * its relevance - (1 - relevance) * its likeness to the item on the page that it is most like`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nightloom.slate.described import CATEGORY, values_of
from nightloom.slate.effects import Likeness
from nightloom.slate.item_values import ItemValues
from nightloom.slate.rule import AttributeName, CompiledRule, SlateRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Diversity(SlateRule):
    """Maximal marginal relevance (Carbonell and Goldstein 1998): what is like an item already on the page waits."""

    section: ClassVar = "diversity"
    order: ClassVar = 80
    effects: ClassVar = (Likeness,)
    breakable: ClassVar = ""
    example: ClassVar = """
[slate.diversity]
relevance = 0.5
by = ["category", "provider"]
"""

    relevance: float = Field(0.7, ge=0, le=1)
    """1 looks at relevance alone, 0 at the difference alone."""
    by: tuple[str, ...] = Field((CATEGORY,), min_length=1)
    """What makes items alike, `category` and attributes: the share of values that two have in common (Jaccard)."""

    @property
    def explanation(self) -> str:
        return f"an item waits that is like another one on the page, by {' and '.join(self.by)}"

    def attribute_names(self) -> Iterator[AttributeName]:
        yield from (AttributeName("by", name, columns=(CATEGORY,)) for name in self.by)

    def compile(self, compilation: Compilation) -> CompiledRule:
        items = compilation.items
        values = reduce(ItemValues.merge, [items.values(values_of(name)) for name in self.by])
        return CompiledRule(self.rule_name, len(items.ids), (Likeness(self.relevance, values),))

    def check(self, k: int, night: date) -> None:
        """Nothing: any order may come of diversity."""
