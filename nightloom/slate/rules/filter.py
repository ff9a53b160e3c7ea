"""Filters say what may be listed, for everybody or for a user. They apply first, and also to the popular list."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from nightloom.literals import sql_name, sql_text
from nightloom.slate.checks import SHOWN, NoRows
from nightloom.slate.described import condition
from nightloom.slate.effects import KeepForAll, KeepForUser
from nightloom.slate.rule import AttributeName, CompiledRule, NamedRule

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


class Filter(NamedRule):
    """Items that may be listed, for everybody (`when`) or for a user (`item`, `user`, `compare`)."""

    section: ClassVar = "filters"
    order: ClassVar = 10
    effects: ClassVar = (KeepForAll, KeepForUser)
    breakable: ClassVar = "never"
    example: ClassVar = """
[[slate.filters]]
name = "sold_here"
item = "markets"
user = "market"
"""

    when: str | None = None
    """Condition that a listed item meets, SQL over its columns and attributes, e.g. "year >= 1990"."""
    item: str | None = None
    """Attribute of items that is compared; an item without it is kept for everybody."""
    user: str | None = None
    """Attribute of users that it is compared with; a user without it gets just the items that lack `item`."""
    compare: Literal["contains", "at_most", "at_least"] = "contains"
    """`contains`: the user's value is one of the item's, which commas separate. `at_most`, `at_least`: the item's
    number is at most (at least) the user's."""

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        both = self.item is not None and self.user is not None
        if (self.when is None) == (self.item is None and self.user is None) or (self.when is None and not both):
            raise ValueError("a filter has either `when`, or `item` and `user`")
        return self

    @property
    def explanation(self) -> str:
        if self.when is not None:
            return f"lists only items with {self.when}"
        compared = {"contains": "contains", "at_most": "is at most", "at_least": "is at least"}[self.compare]
        return f"lists only items whose {self.item} {compared} the user's {self.user}"

    def attribute_names(self) -> Iterator[AttributeName]:
        if self.item is not None:
            yield AttributeName("item", self.item)
        if self.user is not None:
            yield AttributeName("user", self.user, "users")

    def compile(self, compilation: Compilation) -> CompiledRule:
        if self.when is not None:
            met = compilation.meeting(self.when)
            return CompiledRule(self.name, int(met.sum()), (KeepForAll(met),))
        assert self.user is not None  # the settings see to it
        values = compilation.items.values(self._item_values)
        described = len(set(values.owners.tolist()))
        return CompiledRule(self.name, described, (KeepForUser(self.user, self.compare, values),))

    def check(self, k: int, night: date) -> NoRows:
        what = "entries that it hides"
        if self.when is not None:
            meets = f"SELECT item_id FROM described WHERE {condition(self.when)}"
            return NoRows(f"SELECT 1 FROM {SHOWN} WHERE item_id NOT IN ({meets})", what)
        user = f"attributes[{sql_text(self.user or '')}]"
        if self.compare == "contains":
            has = f"list_filter({self._item_values}, lambda value: value <> '')"
            given, fits = f"len({has}) > 0", f"list_contains({has}, {user})"
        else:
            number = f"TRY_CAST({sql_name(self.item or '')} AS DOUBLE)"
            sign = {"at_most": "<=", "at_least": ">="}[self.compare]
            given, fits = f"{number} IS NOT NULL", f"{number} {sign} TRY_CAST({user} AS DOUBLE)"
        return NoRows(f"""SELECT 1 FROM {SHOWN} JOIN described USING (item_id) LEFT JOIN people USING (user_id)
            WHERE {given} AND NOT coalesce({fits}, false)""", what)  # fmt: skip

    @property
    def _item_values(self) -> str:
        """SQL for the list of the item's values that are compared."""
        column = sql_name(self.item or "")
        if self.compare == "contains":
            return f"[trim(each) FOR each IN string_split(CAST({column} AS VARCHAR), ',')]"
        return f"[TRY_CAST({column} AS DOUBLE)]"
