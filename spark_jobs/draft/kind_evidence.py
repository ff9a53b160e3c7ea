"""What speaks for a file's kind: a table of evidence, each with its weight. The score is the sum, as for roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spark_jobs.draft.columns import FEW, Column
from spark_jobs.draft.role_evidence import Facts, is_list, is_no_id, is_unique, names_behaviours, repeats
from spark_jobs.draft.vocabulary import match_of

GENDERS = {"m", "f", "male", "female", "w", "mann", "frau", "other", "d", "x", "u", "unknown", "homme", "femme"}


@dataclass(frozen=True)
class KindEvidence:
    """One thing that speaks for a kind of file, or against it."""

    weight: float
    words: str
    holds: Callable[[Facts], float | bool]


def has_column(role: str, least: float = 1) -> Callable[[Facts], bool]:
    """A column has a name of the role."""
    return lambda facts: any(match_of(column.name, role) >= least for column in facts.columns)


def any_column(holds: Callable[[Column, Facts], float | bool]) -> Callable[[Facts], bool]:
    return lambda facts: any(holds(column, facts) for column in facts.columns)


def describes(role: str) -> Callable[[Facts], float]:
    """Events name its ids."""
    return lambda facts: facts.describes.get(role, 0.0)


def two_ids_repeat(facts: Facts) -> bool:
    ids = [each for each in facts.columns if not is_no_id(each, facts) and repeats(each, facts)]
    return len(ids) > 1


def _names_both(facts: Facts) -> bool:
    user = has_column("user")(facts) or has_column("session")(facts)
    return user and has_column("item")(facts)


def _one_row_per_id(facts: Facts) -> bool:
    """The first column of ids has no value twice."""
    ids = [each for each in facts.columns if not is_no_id(each, facts)]
    return bool(ids) and is_unique(ids[0], facts)


def _is_long(facts: Facts) -> bool:
    return len(facts.columns[0].texts) >= FEW


def _has_events(column: Column, facts: Facts) -> bool:
    named = any(match_of(column.name, role) == 1 for role in ("value", "amount"))
    return named or names_behaviours(column, facts)


def _has_moments(facts: Facts) -> bool:
    """It has a time. Beside a title it counts where its name says that it is one."""
    times = [column for column in facts.columns if column.time_format]
    return any(match_of(column.name, "time") or not has_column("title")(facts) for column in times)


def _describes_items(column: Column, facts: Facts) -> bool:
    named = any(match_of(column.name, role) == 1 for role in ("title", "categories"))
    return named or column.is_prose or is_list(column, facts)


def _describes_people(column: Column, facts: Facts) -> bool:
    values = {text.lower() for text in column.counts}
    is_gender = bool(values) and not column.is_numeric and values <= GENDERS
    return is_gender or match_of(column.name, "person") == 1


KINDS: dict[str, tuple[KindEvidence, ...]] = {
    "events": (
        KindEvidence(4, "it has columns that are called after users and items", _names_both),
        KindEvidence(4, "it has a time", _has_moments),
        KindEvidence(4, "two columns have ids that occur again", two_ids_repeat),
        KindEvidence(3, "it has what people do, or a number of it", any_column(_has_events)),
        KindEvidence(6, "a record holds a list of items", lambda facts: facts.explode is not None),
        KindEvidence(-4, "no id occurs twice in many rows", lambda facts: _one_row_per_id(facts) and _is_long(facts)),
    ),
    "items": (
        KindEvidence(4, "it has a column that is called after items", has_column("item")),
        KindEvidence(3, "no id occurs twice", _one_row_per_id),
        KindEvidence(3, "it has names, or lists of words", any_column(_describes_items)),
        KindEvidence(5, "events name its ids as items", describes("item")),
        KindEvidence(-4, "it has a column that is called after users, too", has_column("user")),
    ),
    "users": (
        KindEvidence(4, "it has a column that is called after users", has_column("user")),
        KindEvidence(3, "no id occurs twice", _one_row_per_id),
        KindEvidence(4, "it has what people are: age, sex, job", any_column(_describes_people)),
        KindEvidence(5, "events name its ids as users", describes("user")),
        KindEvidence(-4, "it has a column that is called after items, too", has_column("item")),
    ),
}
"""Kind of a source -> what speaks for it."""


def kind_score(kind: str, facts: Facts) -> float:
    """How much speaks for a file's kind."""
    return sum(each.weight * float(each.holds(facts)) for each in KINDS[kind])
