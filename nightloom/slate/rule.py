"""What each kind of slate rule gives: settings, compilation, the SQL that checks it, the words that explain it.

A kind is one file of nightloom/slate/rules/, with one class; the file's name is the kind's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nightloom.section import Section, join_names, suggest_key
from nightloom.slate.checks import FewMissed, NoRows
from nightloom.slate.effects import Effect

if TYPE_CHECKING:
    from nightloom.slate.described import Compilation


@dataclass(frozen=True)
class CompiledRule:
    """A rule of one night over its items."""

    name: str
    items: int
    """How many items the rule speaks of."""
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class AttributeName:
    """An attribute that a rule names outside SQL."""

    key: str
    """The key that names it."""
    name: str
    owner: Literal["items", "users"] = "items"
    columns: tuple[str, ...] = ()
    """What the key may name besides declared attributes."""

    def misnamed(self, items: frozenset[str], users: frozenset[str]) -> str | None:
        """What is wrong where no source of items, or of users, declares it."""
        known = sorted({*(users if self.owner == "users" else items), *self.columns})
        if self.name in known:
            return None
        has = f"{self.owner} have {join_names(known)}" if known else f"no source of {self.owner} declares any"
        return f"names the attribute '{self.name}'; {has}{suggest_key(self.name, known)}"


class SlateRule(Section):
    """A rule of the lists. A kind of which there may be one at most derives from this class."""

    section: ClassVar[str]
    """Key of the kind in [slate]."""
    order: ClassVar[int]
    """Rules apply by rising order of their kinds, and within a kind in the order of nightloom.toml."""
    effects: ClassVar[tuple[type[Effect], ...]]
    """What the rule may compile to."""
    breakable: ClassVar[str]
    """When a list may break the rule, e.g. "never" or "where no such item is left"; empty where no list can."""
    example: ClassVar[str]
    """A section of nightloom.toml that changes lists, for a shop whose items have `category`, `provider`, `series`,
    `markets`, `min_age` and `released`, and whose users have `market` and `age`."""

    @classmethod
    def kind(cls) -> str:
        """The name of the kind's file."""
        return cls.__module__.rpartition(".")[2]

    @property
    def rule_name(self) -> str:
        """The name under which ops.slate_rules counts what the rule did."""
        return self.kind()

    @property
    def explanation(self) -> str:
        """What the rule does, in the words of its settings, as the end of a sentence."""
        raise NotImplementedError

    def compile(self, compilation: Compilation) -> CompiledRule:
        """The rule over the night's items."""
        raise NotImplementedError

    def check(self, k: int, night: date) -> NoRows | FewMissed | None:
        """The SQL that looks for lists which break the rule; None where lists cannot break it."""
        raise NotImplementedError

    def reserved_places(self, k: int) -> int:
        """Places of each page that the rule reserves."""
        return 0

    def misfit(self, k: int, stored: int) -> str | None:
        """What is wrong with the rule for pages of `k` places and lists of `stored`."""
        return None

    def attribute_names(self) -> Iterator[AttributeName]:
        """Attributes that the rule names outside SQL."""
        yield from ()

    @property
    def condition(self) -> str | None:
        """SQL for the items that the rule is about, under the key `when`; None where it has none."""
        when: str | None = getattr(self, "when", None)
        return when


class NamedRule(SlateRule):
    """A kind of which there may be several rules."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique; ops.slate_rules counts under it."""

    @property
    def rule_name(self) -> str:
        return self.name


class AudienceRule(NamedRule):
    """A kind whose rules may be for some users and some nights."""

    users: dict[str, str] = Field({})
    """Only for users with these values: attribute = value."""
    first_day: date | None = None
    """First night of the rule."""
    last_day: date | None = None
    """Last night of the rule."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.first_day and self.last_day and self.last_day < self.first_day:
            raise ValueError(f"last_day is {self.last_day}, before first_day = {self.first_day}")
        return self

    def holds_on(self, night: date) -> bool:
        """Whether the rule holds on a night."""
        return (self.first_day or night) <= night <= (self.last_day or night)

    @property
    def audience(self) -> tuple[tuple[str, str], ...]:
        """(attribute, value) that a user must have."""
        return tuple(self.users.items())

    @property
    def audience_words(self) -> str:
        """The end of an explanation that says for which users the rule is."""
        values = " and ".join(f"{name} = {value}" for name, value in self.users.items())
        return f", for users with {values}" if values else ""

    def attribute_names(self) -> Iterator[AttributeName]:
        yield from (AttributeName("users", name, "users") for name in self.users)


def share_of_page(share: float, k: int) -> int:
    """Places of a page that a share of it is, at least one."""
    return max(1, round(share * k))
