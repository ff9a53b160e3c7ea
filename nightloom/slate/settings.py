"""[slate] of nightloom.toml: how long the lists are, and the rules that change them.

A page is `slate.k` places. The keys of the rules come from the files of nightloom/slate/rules/; docs/slate.md says what
the rules mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from pydantic import Field, create_model, model_validator

from nightloom.section import MOST_DAYS, Section, join_names
from nightloom.slate.effects import KEEP
from nightloom.slate.rule import AttributeName, NamedRule, SlateRule
from nightloom.slate.rules import find_kinds

Location: TypeAlias = tuple[str | int, ...]
KINDS = find_kinds()


class SlateSection(Section):
    """The published lists."""

    k: int = Field(20, ge=1)
    """Length a reader gets unless it asks for another."""
    stored: int = Field(60, ge=1)
    """Length stored: more than k, so that a reader's filters do not empty the list."""
    full_refresh_days: int = Field(7, ge=1, le=MOST_DAYS)
    """So often everybody is scored; between, users for whom something changed. 1: everybody every night."""
    popular_half_life_days: float = Field(14.0, gt=0, le=MOST_DAYS)
    """How fast an old event stops counting for the popular list, which unknown users get."""
    segments: tuple[str, ...] = ()
    """Attributes of users, such as their market: a popular list for each value that at least 10 users have."""
    candidates: int = Field(4, ge=1, le=20)
    """The rules choose among so many times `stored` items, each user's best; without rules it does not matter."""

    @model_validator(mode="after")
    def _stored_covers_k(self) -> Self:
        if self.stored < self.k:
            raise ValueError(f"stored is {self.stored}, less than k = {self.k}; store at least k, better 2-3 times k")
        return self

    @model_validator(mode="after")
    def _segments_are_unique(self) -> Self:
        if twice := sorted({name for name in self.segments if self.segments.count(name) > 1}):
            raise ValueError(f"segments names {join_names(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [name for name, _ in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            single = " and ".join(kind.kind() for kind in KINDS if not issubclass(kind, NamedRule))
            raise ValueError(f"two rules are called {join_names(twice)}; names are unique, and {single} name rules of "
                             "their own")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _fits_on_a_page(self) -> Self:
        places = {rule.section: 0 for _, rule in self.rules}
        for location, rule in self.located_rules:
            places[rule.section] += rule.reserved_places(self.k)
            if words := rule.misfit(self.k, self.stored):
                raise ValueError(f"{location[1]} has {rule.rule_name}, {words}")
        if (total := sum(places.values())) > self.k:
            asking = join_names(section for section, number in places.items() if number)
            raise ValueError(f"{asking} ask for {total} places of a page; it has k = {self.k}")
        return self

    @property
    def located_rules(self) -> Iterator[tuple[Location, SlateRule]]:
        """All rules with their places in the file, in the order in which they apply."""
        for kind in KINDS:
            found = getattr(self, kind.section)
            if isinstance(found, tuple):
                yield from ((("slate", kind.section, number), rule) for number, rule in enumerate(found))
            elif found is not None:
                yield ("slate", kind.section), found

    @property
    def rules(self) -> tuple[tuple[str, SlateRule], ...]:
        """All rules by name, in the order in which they apply."""
        return tuple((rule.rule_name, rule) for _, rule in self.located_rules)

    @property
    def hiding_rules(self) -> tuple[str, ...]:
        """Names of the rules that hide items; they hold for the popular list and for similar items too."""
        return tuple(name for name, rule in self.rules if any(issubclass(each, KEEP) for each in rule.effects))

    @property
    def by_score(self) -> bool:
        """Whether each list is in the order of its scores: rules at most hide items."""
        return all(issubclass(each, KEEP) for _, rule in self.rules for each in rule.effects)

    @property
    def attribute_names(self) -> Iterator[tuple[Location, AttributeName]]:
        """Attributes that rules and segments name outside SQL, each with its place in the file."""
        for location, rule in self.located_rules:
            yield from (((*location, each.key), each) for each in rule.attribute_names())
        yield from ((("slate", "segments"), AttributeName("segments", name, "users")) for name in self.segments)

    @property
    def user_attributes(self) -> frozenset[str]:
        """Attributes of users that a rule asks for."""
        names = [each for _, rule in self.rules for each in rule.attribute_names()]
        return frozenset(each.name for each in names if each.owner == "users")


def _field(kind: type[SlateRule]) -> tuple[Any, Any]:
    """The key of a kind: a list of tables, or one table where there may be one rule at most."""
    description = cleandoc(kind.__doc__ or "")
    if issubclass(kind, NamedRule):
        return tuple[kind, ...], Field((), description=description)  # type: ignore[valid-type]
    return kind | None, Field(None, description=description)


if TYPE_CHECKING:

    class Slate(SlateSection):
        """The published lists; at run time with a key for each kind of rule."""
else:
    Slate = create_model(
        "Slate",
        __base__=SlateSection,
        __module__=__name__,
        __doc__=SlateSection.__doc__,
        **{kind.section: _field(kind) for kind in KINDS},
    )


def find_misnamed(slate: Slate, items: Iterable[str], users: Iterable[str]) -> Iterator[tuple[Location, str]]:
    """Where a rule names an attribute that no source of items, or of users, declares -> (place in the file, words)."""
    declared = frozenset(items), frozenset(users)
    for location, attribute in slate.attribute_names:
        if words := attribute.misnamed(*declared):
            yield location, words
