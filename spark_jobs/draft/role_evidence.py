"""What speaks for a column's role: a table of evidence, each with its weight.

The score of a role is the sum of the weights of its evidence, each times how much it holds, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spark_jobs.draft.columns import FEW, Column
from spark_jobs.draft.vocabulary import UNLIKED, WORDS, behaviour_of, match_of, says_id, words_of

SMALL_SCALE = -1, 100, 21
"""Least and greatest value of a scale of opinions, and the most steps that one has."""
IN_STOCK = {"0", "1", "true", "false", "yes", "no", "y", "n", "t", "f"}
MAX_ID = 64  # characters
MOST_REASONS = 2


@dataclass(frozen=True)
class Facts:
    """What is known beside a column: the other columns of its file, and what other files say."""

    columns: Sequence[Column]
    explode: str | None = None
    """The list of items that a record holds."""
    matches: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(Column, `user` or `item`) -> the share of ids that it and a file of the other kind have in common."""
    describes: Mapping[str, float] = field(default_factory=dict)
    """`user` or `item` -> the share of ids that this file, which describes them, and the events have in common."""


@dataclass(frozen=True)
class Evidence:
    """One thing that speaks for a role, or with a negative weight against it."""

    weight: float
    words: str
    holds: Callable[[Column, Facts], float | bool]


def named(role: str) -> Callable[[Column, Facts], float]:
    return lambda column, _: match_of(column.name, role)


def begins_with(role: str) -> Callable[[Column, Facts], bool]:
    """Its values are such as `user_000001`."""

    def is_numbered(text: str) -> bool:
        words = words_of(text[:12])
        return bool(words) and words[0] in WORDS[role] and any(map(str.isdigit, text))

    return lambda column, _: column.mostly(column.share(is_numbered))


def matched(role: str) -> Callable[[Column, Facts], float]:
    return lambda column, facts: facts.matches.get((column.name, role), 0.0)


def named_otherwise(*own: str) -> Callable[[Column, Facts], bool]:
    """Its name's noun is the word of another role."""
    return lambda column, _: (
        max((match_of(column.name, role) for role in WORDS if role not in own), default=0) == 1
        and all(match_of(column.name, role) < 1 for role in own)
    )


def is_no_id(column: Column, facts: Facts) -> bool:
    """Its values are too long, fractions, moments, or several words."""
    named = says_id(column.name) or any(match_of(column.name, role) == 1 for role in ("user", "item"))
    moment = not named and column.time_format is not None and column.mostly(column.time_format.share)
    fraction = column.is_numeric and any(not number.is_integer() for number in column.numbers)
    long = column.share(lambda text: len(text) > MAX_ID or text[:1] in "[{") > 0.05
    return not column.filled or moment or fraction or long or column.is_prose


def counts_rows(column: Column, facts: Facts) -> bool:
    """Its values are 1, 2, 3, and its name says nothing else."""
    if len(column.texts) < FEW or any(match_of(column.name, role) == 1 for role in ("user", "item")):
        return False
    return column.is_row_number or (facts.explode is not None and column.is_record_number)


def is_in_element(column: Column, facts: Facts) -> bool:
    """It is a field of the elements of the list that a record holds."""
    return facts.explode is not None and column.name.startswith(f"{facts.explode}.")


def repeats(column: Column, facts: Facts) -> bool:
    return column.unique_share < 1


def is_unique(column: Column, facts: Facts) -> bool:
    return bool(column.filled) and column.unique_share > 0.99


def is_constant(column: Column, facts: Facts) -> bool:
    return len(column.texts) >= FEW and column.distinct <= 1


def place_among_ids(place: int, counts: bool = False) -> Callable[[Column, Facts], bool]:
    """It is the first, or the second, of the columns that may be ids; `counts`: also one that counts the rows."""

    def holds(column: Column, facts: Facts) -> bool:
        ids = [each for each in facts.columns if not is_no_id(each, facts) and (counts or not counts_rows(each, facts))]
        return column in ids and ids.index(column) == min(place, len(ids) - 1)

    return holds


def has_most_values(column: Column, facts: Facts) -> bool:
    ids = [each.distinct for each in facts.columns if not is_no_id(each, facts) and not each.is_row_number]
    return column.distinct == max(ids, default=0)


def is_small_scale(column: Column, facts: Facts) -> bool:
    """Few different numbers, as on a scale of opinions, and its name says nothing else, such as a price."""
    low, high, steps = SMALL_SCALE
    named = any(match_of(column.name, role) == 1 for role in ("amount", "money", "uses"))
    numbers = column.numbers if column.is_numeric and not named else []
    return 0 < len({*numbers}) <= steps and low <= min(numbers) and max(numbers) <= high


def holds_moments(column: Column, facts: Facts) -> float:
    return column.time_format.share if column.time_format else 0.0


def is_in_order(column: Column, facts: Facts) -> bool:
    numbers = column.numbers[:1_000]
    return len(numbers) > 1 and numbers == sorted(numbers)


def names_behaviours(column: Column, facts: Facts) -> bool:
    """Its values are such as `view` and `purchase`."""
    known = [value for value in column.counts if behaviour_of(value) or {*words_of(value)} & UNLIKED]
    return 0 < column.distinct <= 50 and len(known) >= 0.5 * column.distinct


def has_many_values(column: Column, facts: Facts) -> bool:
    return column.distinct > 50


def is_no_number(column: Column, facts: Facts) -> bool:
    return not column.is_numeric


def is_list(column: Column, facts: Facts) -> bool:
    """Its values are lists whose elements occur again and again, or are of few letters and no digits."""
    if column.share(lambda text: text.startswith("[") and not text.startswith("[{")) > 0.5:
        return True
    if column.is_numeric or column.separator in (None, " "):
        return False
    parts = [part.strip() for text in column.filled for part in text.split(column.separator)]
    return len({*parts}) <= max(0.6 * len(parts), 4) and all(len(part) <= 30 for part in parts)


def is_flag(column: Column, facts: Facts) -> bool:
    return bool(column.filled) and {text.lower() for text in column.counts} <= IN_STOCK


ROLES: dict[str, dict[str, tuple[Evidence, ...]]] = {
    "events": {
        "user_id": (
            Evidence(6, "its name says so", named("user")),
            Evidence(3, "its name says that it is a session", named("session")),
            Evidence(4, "its values begin with a word for users", begins_with("user")),
            Evidence(5, "a file of users has the same ids", matched("user")),
            Evidence(-5, "a file of items has the same ids", matched("item")),
            Evidence(1, "values occur again", repeats),
            Evidence(2, "it is the first column of ids", place_among_ids(0)),
            Evidence(-3, "its name says something else", named_otherwise("user", "session")),
            Evidence(-6, "it counts the rows", counts_rows),
            Evidence(-4, "it has one value only", is_constant),
            Evidence(-9, "its values are no ids", is_no_id),
        ),
        "item_id": (
            Evidence(6, "its name says so", named("item")),
            Evidence(4, "its values begin with a word for items", begins_with("item")),
            Evidence(5, "a file of items has the same ids", matched("item")),
            Evidence(-5, "a file of users has the same ids", matched("user")),
            Evidence(1, "values occur again", repeats),
            Evidence(2, "it is the second column of ids", place_among_ids(1)),
            Evidence(1, "no other column of ids has more values", has_most_values),
            Evidence(1, "its name says that it is an id", lambda column, _: says_id(column.name)),
            Evidence(-3, "its name says something else", named_otherwise("item")),
            Evidence(-6, "it counts the rows", counts_rows),
            Evidence(-4, "it has one value only", is_constant),
            Evidence(-9, "its values are no ids", is_no_id),
        ),
        "occurred_at": (
            Evidence(6, "its values are moments", holds_moments),
            Evidence(3, "its name says so", named("time")),
            Evidence(1, "it is in order", is_in_order),
            Evidence(-4, "its name says something else", named_otherwise("time")),
            Evidence(-20, "its values are no moments", lambda column, _: column.time_format is None),
        ),
        "event": (
            Evidence(7, "its values are what people do", names_behaviours),
            Evidence(3, "its name says so", named("event")),
            Evidence(-9, "it has many values", has_many_values),
            Evidence(-9, "it holds numbers", lambda column, _: column.is_numeric),
        ),
        "value": (
            Evidence(7, "its name says that it is an opinion", named("value")),
            Evidence(6, "its name says how many", named("amount")),
            Evidence(5, "its name says how long or how often", named("uses")),
            Evidence(4, "its name says a price", named("money")),
            Evidence(3, "it has few different numbers", is_small_scale),
            Evidence(3, "it is a part of the list's element", is_in_element),
            Evidence(-4, "its name says that it is an id", lambda column, _: says_id(column.name)),
            Evidence(-6, "it holds moments", holds_moments),
            Evidence(-6, "it counts the rows", lambda column, _: column.is_row_number),
            Evidence(-20, "it holds no numbers", is_no_number),
        ),
        "event_id": (
            Evidence(6, "its name says so", named("event_id")),
            Evidence(
                -20,
                "values occur again, or too few are known",
                lambda column, _: column.unique_share < 1 or len(column.texts) < FEW,
            ),
        ),
    },
    "items": {
        "item_id": (
            Evidence(6, "its name says so", named("item")),
            Evidence(5, "events name its ids", matched("item")),
            Evidence(3, "no value occurs twice", is_unique),
            Evidence(1, "it is the first column of ids", place_among_ids(0, counts=True)),
            Evidence(1, "its name says that it is an id", lambda column, _: says_id(column.name)),
            Evidence(-3, "its name says something else", named_otherwise("item")),
            Evidence(-9, "its values are no ids", is_no_id),
        ),
        "title": (
            Evidence(6, "its name says so", named("title")),
            Evidence(4, "its values are several words", lambda column, _: column.is_prose),
            Evidence(-3, "its values are lists", is_list),
            Evidence(-9, "it holds numbers", lambda column, _: column.is_numeric),
        ),
        "categories": (
            Evidence(6, "its name says so", named("categories")),
            Evidence(4, "its values are lists", is_list),
            Evidence(-9, "it holds numbers", lambda column, _: column.is_numeric and not says_id(column.name)),
        ),
        "available": (
            Evidence(6, "its name says so", named("available")),
            Evidence(-20, "it is not yes or no", lambda column, facts: not is_flag(column, facts)),
        ),
        "updated_at": (
            Evidence(4, "its values are moments", holds_moments),
            Evidence(3, "its name says so", named("time")),
            Evidence(-20, "its values are no moments", lambda column, _: column.time_format is None),
        ),
    },
    "users": {
        "user_id": (
            Evidence(6, "its name says so", named("user")),
            Evidence(5, "events name its ids", matched("user")),
            Evidence(3, "no value occurs twice", is_unique),
            Evidence(1, "it is the first column of ids", place_among_ids(0, counts=True)),
            Evidence(1, "its name says that it is an id", lambda column, _: says_id(column.name)),
            Evidence(-3, "its name says something else", named_otherwise("user")),
            Evidence(-9, "its values are no ids", is_no_id),
        ),
        "updated_at": (
            Evidence(4, "its values are moments", holds_moments),
            Evidence(3, "its name says so", named("time")),
            Evidence(-20, "its values are no moments", lambda column, _: column.time_format is None),
        ),
    },
}
"""Kind of a source -> our column -> what speaks for it."""
LEAST_SCORE = {
    "user_id": 2.0, "item_id": 2.0, "occurred_at": 3.0, "event": 5.0, "value": 3.0, "event_id": 6.0, "title": 3.0,
    "categories": 3.0, "available": 6.0, "updated_at": 6.0,
}  # fmt: skip
"""The score from which on a column has the role."""


def score(evidence: Iterable[Evidence], column: Column, facts: Facts) -> float:
    """How much speaks for a column's role."""
    return sum(each.weight * float(each.holds(column, facts)) for each in evidence)


def reasons(evidence: Iterable[Evidence], column: Column, facts: Facts) -> str:
    """What speaks most for it, in words."""
    found = [each for each in evidence if each.weight > 0 and float(each.holds(column, facts)) >= 0.5]
    return ", ".join(each.words for each in sorted(found, key=lambda each: -each.weight)[:MOST_REASONS])
