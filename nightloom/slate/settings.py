"""[slate] of nightloom.toml: how long the lists are, and the rules that change them.

A page is `slate.k` places. The rules apply in this order: filters, boosts, caps, floors, promotions, exploration, pins,
diversity. What they mean is in docs/slate.md; slate_plan.py compiles them, slate_lists.py applies them.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from nightloom.section import Section, listed, nearest_key

CATEGORY = "category"
Location: TypeAlias = tuple[str | int, ...]


class SlateRule(Section):
    """A rule of the lists."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique; ops.slate_rules counts under it."""


class Filter(SlateRule):
    """[[slate.filters]]"""

    when: str | None = None
    """Condition that a listed item meets, SQL over its columns and attributes, e.g. "year >= 1990"."""
    item: str | None = None
    """Attribute of items that is compared; an item without it is kept for everybody."""
    user: str | None = None
    """Attribute of users that it is compared with; who has none gets just the items that lack `item`."""
    compare: Literal["contains", "at_most", "at_least"] = "contains"
    """`contains`: the user's value is one of the item's, which commas separate. `at_most`, `at_least`: the item's
    number is at most (at least) the user's."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        both = self.item is not None and self.user is not None
        if (self.when is None) == (self.item is None and self.user is None) or (self.when is None and not both):
            raise ValueError("a filter has either `when`, or `item` and `user`")
        return self


class Boost(SlateRule):
    """[[slate.boosts]]"""

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


class Cap(SlateRule):
    """[[slate.caps]]"""

    by: str | None = None
    """`category` or an attribute of items: each value is counted by itself. Left out: all that meet `when` together."""
    when: str = "true"
    """Only such items are counted."""
    at_most: int = Field(ge=1)
    """How many."""
    within: Literal["page", "list"] = "page"
    """On each page, or in the whole list: one of a series is by = "series", at_most = 1, within = "list"."""


class Floor(SlateRule):
    """[[slate.floors]]"""

    when: str
    """Condition on the item."""
    at_least: int = Field(ge=1)
    """Places of a page."""


class ForSome(SlateRule):
    """A rule for some users and days."""

    users: dict[str, str] = Field({})
    """Only for users with these values: attribute = value."""
    first_day: date | None = None
    """First night of the rule."""
    last_day: date | None = None
    """Last night of the rule."""

    def on(self, night: date) -> bool:
        """Whether the rule holds on a night."""
        return (self.first_day or night) <= night <= (self.last_day or night)


class Promotion(ForSome):
    """[[slate.promotions]]"""

    when: str
    """Condition on the item."""
    share: float = Field(gt=0, le=1)
    """Share of a page's places, at least one."""


class Pin(ForSome):
    """[[slate.pins]]"""

    item: str
    """The item's id."""
    place: int = Field(ge=1)
    """Place in the list, the first is 1."""


class Diversity(Section):
    """[slate.diversity]"""

    relevance: float = Field(0.7, ge=0, le=1)
    """1 looks at relevance alone, 0 at the difference alone."""
    by: tuple[str, ...] = (CATEGORY,)
    """What makes items alike, `category` and attributes: the share of values that two have in common (Jaccard)."""


class Exploration(Section):
    """[slate.exploration]"""

    share: float = Field(gt=0, le=1)
    """Share of each page's places, at least one."""
    most_events: int = Field(5, ge=0)
    """An item with so many interactions or fewer is cold."""


class Slate(Section):
    """The published lists."""

    k: int = Field(20, ge=1)
    """Length a reader gets unless it asks for another."""
    stored: int = Field(60, ge=1)
    """Length stored: more than k, so that a reader's filters do not empty the list."""
    full_refresh_days: int = Field(7, ge=1)
    """So often everybody is scored; between, users for whom something changed. 1: everybody every night."""
    popular_half_life_days: float = Field(14.0, gt=0)
    """How fast an old event stops counting for the popular list, which unknown users get."""
    segments: tuple[str, ...] = ()
    """Attributes of users, such as their market: a popular list for each value that at least 10 users have."""
    candidates: int = Field(4, ge=1, le=20)
    """The rules choose among so many times `stored` items, each user's best; without rules it does not matter."""
    filters: tuple[Filter, ...] = ()
    """Items that may be listed, for everybody (`when`) or for a user (`item`, `user`, `compare`)."""
    boosts: tuple[Boost, ...] = ()
    """Candidates that are moved up, or down."""
    caps: tuple[Cap, ...] = ()
    """At most so many of one kind. Never broken: where nothing else is left, the list ends."""
    floors: tuple[Floor, ...] = ()
    """At least so many of a kind on each page, as far as there are any; they stand where their scores put them."""
    promotions: tuple[Promotion, ...] = ()
    """A share of each page for some items, spread over it, each user's best of them."""
    pins: tuple[Pin, ...] = ()
    """One item at one place, unless the user has seen it, a filter hides it or a cap forbids it."""
    diversity: Diversity | None = None
    """Maximal marginal relevance (Carbonell and Goldstein 1998): what is like an item already on the page waits."""
    exploration: Exploration | None = None
    """Places for cold items, so that they can be seen at all: chosen by chance, another choice each night."""

    @model_validator(mode="after")
    def _stored_covers_k(self) -> Self:
        if self.stored < self.k:
            raise ValueError(f"stored is {self.stored}, less than k = {self.k}; store at least k, better 2-3 times k")
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [name for name, _ in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {listed(twice)}; names are unique, and two are diversity's and "
                             "exploration's")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _fits_on_a_page(self) -> Self:
        asked = sum(floor.at_least for floor in self.floors) + sum(self.places(each.share) for each in self.shares)
        if asked > self.k:
            raise ValueError(
                f"floors, promotions and exploration ask for {asked} places of a page; it has k = {self.k}"
            )
        if beyond := [pin.name for pin in self.pins if pin.place > self.stored]:
            raise ValueError(f"pins has {beyond[0]}, whose place is beyond stored = {self.stored}")
        return self

    @property
    def shares(self) -> tuple[Promotion | Exploration, ...]:
        return (*self.promotions, *((self.exploration,) if self.exploration else ()))

    def places(self, share: float) -> int:
        """Places of a page that a share of it is."""
        return max(1, round(share * self.k))

    @property
    def rules(self) -> tuple[tuple[str, SlateRule | Diversity | Exploration], ...]:
        """All rules by name, in the order in which they apply."""
        named = [(rule.name, rule) for group in (self.filters, self.boosts, self.caps, self.floors, self.promotions)
                 for rule in group]  # fmt: skip
        exploring = [("exploration", self.exploration)] if self.exploration else []
        pinned = [(pin.name, pin) for pin in self.pins]
        diverse = [("diversity", self.diversity)] if self.diversity else []
        return (*named, *exploring, *pinned, *diverse)

    @property
    def by_score(self) -> bool:
        """Whether each list is in the order of its scores: there is no rule but filters."""
        return all(isinstance(rule, Filter) for _, rule in self.rules)

    @property
    def user_attributes(self) -> frozenset[str]:
        """Attributes of users that a rule asks for."""
        some = (*self.promotions, *self.pins)
        return frozenset(
            {each.user for each in self.filters if each.user} | {name for rule in some for name in rule.users}
        )


def misnamed(slate: Slate, items: Iterable[str], users: Iterable[str]) -> Iterator[tuple[Location, str]]:
    """Where a rule names an attribute that no source of items, or of users, declares -> (place in the file, words)."""
    for where, key, name in _named(slate):
        of_users = key in ("user", "users", "segments")
        known = sorted({*users} if of_users else {*items} | ({"first_at", "updated_at"} if key == "since" else set())
                       | ({CATEGORY} if key == "by" else set()))  # fmt: skip
        if name not in known:
            whose = "users" if of_users else "items"
            has = f"{whose} have {listed(known)}" if known else f"no source of {whose} declares any"
            yield (*where, key), f"names the attribute '{name}'; {has}{nearest_key(name, known)}"


def _named(slate: Slate) -> Iterator[tuple[Location, str, str]]:
    """(rule's place, key, attribute) of each attribute that a rule names outside SQL."""
    for group, key in (("filters", "item"), ("filters", "user"), ("boosts", "since"), ("caps", "by")):
        for number, rule in enumerate(getattr(slate, group)):
            if (name := getattr(rule, key)) is not None:
                yield ("slate", group, number), key, name
    for group in ("promotions", "pins"):
        for number, rule in enumerate(getattr(slate, group)):
            yield from ((("slate", group, number), "users", name) for name in rule.users)
    yield from ((("slate",), "segments", name) for name in slate.segments)
    if slate.diversity:
        yield from ((("slate", "diversity"), "by", name) for name in slate.diversity.by)
