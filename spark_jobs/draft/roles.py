"""Groups of files -> what each is (events, items, users), and which column has which role in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from spark_jobs.draft.columns import Column
from spark_jobs.draft.data_files import DataFiles
from spark_jobs.draft.kind_evidence import KINDS, kind_score
from spark_jobs.draft.role_evidence import LEAST_SCORE, ROLES, Facts, is_no_id, reasons, score

NEEDED = {"events": ("user_id", "item_id"), "items": ("item_id",), "users": ("user_id",)}
"""Kind -> the columns that no source can do without; they are given out first."""
CLOSE = 1.5
"""Two columns, or two kinds, whose scores differ by less than this are as likely as each other."""
LEAST_MATCH = 0.1  # a smaller share of common ids is chance
LEAST_COMMON = 20  # ids, where a description has many


@dataclass(frozen=True)
class Role:
    """The column that has a role, and what speaks for it."""

    column: Column
    reasons: str
    rivals: tuple[Column, ...] = ()
    """The columns that are as likely."""


@dataclass(frozen=True)
class Judged:
    """A group of files, its kind, and the roles of its columns."""

    files: DataFiles
    kind: str
    roles: Mapping[str, Role]
    rival_kind: str | None = None
    """Another kind that is as likely."""


def judge_files(groups: Sequence[DataFiles]) -> list[Judged]:
    """The kind and the roles of each group. Ids that two files have in common count as evidence for both."""
    kinds = [_kind_of(files)[0] for files in groups]
    for files, kind in zip(groups, kinds, strict=True):
        if kind != "events":
            _match_ids(files, [other for other, its in zip(groups, kinds, strict=True) if its == "events"])
    return [_judged(files) for files in groups]


def facts_of(files: DataFiles) -> Facts:
    """What is known of a group beside one of its columns."""
    return Facts(files.columns, files.layout.explode, files.matches, files.describes)


def _kind_of(files: DataFiles) -> tuple[str, str | None]:
    """(The likeliest kind, another one that is as likely)."""
    scores = {kind: kind_score(kind, facts_of(files)) for kind in KINDS}
    best, second = sorted(KINDS, key=lambda kind: -scores[kind])[:2]
    return best, second if scores[best] - scores[second] < CLOSE else None


def _match_ids(description: DataFiles, events: Sequence[DataFiles]) -> None:
    """Note which columns of events have the ids of a description, and on which side that counts.

    Users or items: what the description itself looks like, else the column of the events.
    """
    ids = _id_column(description)
    if ids is None:
        return
    users, items = (kind_score(kind, facts_of(description)) for kind in ("users", "items"))
    for files in events:
        facts = facts_of(files)
        shares = {column: _common_share(ids, column) for column in files.columns if not is_no_id(column, facts)}
        best = max(shares, key=lambda column: shares[column], default=None)
        if best is None or shares[best] < LEAST_MATCH:
            continue
        user, item = (score(ROLES["events"][role], best, facts) for role in ("user_id", "item_id"))
        role = "user" if (users, user) > (items, item) else "item"
        for noted, key in ((files.matches, best.name), (description.matches, ids.name)):
            noted[key, role] = max(shares[best], noted.get((key, role), 0.0))
        description.describes[role] = max(shares[best], description.describes.get(role, 0.0))
        words = f"{_common(ids, best):,} of {best.distinct:,} ids of {files.name} are in {description.name}"
        files.common[best.name] = description.common[ids.name] = words


def _id_column(files: DataFiles) -> Column | None:
    """The column of a description that has no value twice."""
    facts = facts_of(files)
    ids = [column for column in files.columns if not is_no_id(column, facts) and column.unique_share > 0.95]
    return max(ids, key=lambda column: max(_description_score(column, facts)), default=None)


def _description_score(column: Column, facts: Facts) -> tuple[float, float]:
    return score(ROLES["items"]["item_id"], column, facts), score(ROLES["users"]["user_id"], column, facts)


def _common_share(ids: Column, column: Column) -> float:
    """How well a description fits a column of events: the share of its ids that are described, by half of it less
    where the column has few of the described ids, as a column of small numbers has. 0 where it may be chance."""
    common = _common(ids, column)
    if common < min(LEAST_COMMON, ids.distinct / 2):
        return 0.0
    return common / column.distinct * (0.5 + 0.5 * common / ids.distinct)


def _common(ids: Column, column: Column) -> int:
    return len(ids.counts.keys() & column.counts.keys())


def _judged(files: DataFiles) -> Judged:
    kind, rival = _kind_of(files)
    return Judged(files, kind, _assign(files, kind), rival)


def _assign(files: DataFiles, kind: str) -> dict[str, Role]:
    """Role -> column, so that the sum of all scores is the greatest and no column has two roles."""
    facts = facts_of(files)
    roles = [role for role in ROLES[kind] if role != "item_id" or not files.labelled]  # its elements are the items
    scores = np.array([[score(ROLES[kind][role], column, facts) for column in files.columns] for role in roles])
    if not scores.size:
        return {}
    fits = scores >= np.array([[LEAST_SCORE[role]] for role in roles])
    needed = np.array([[100.0 if role in NEEDED[kind] else 0.0] for role in roles])
    places, columns = linear_sum_assignment(np.where(fits, scores + needed, 0.0), maximize=True)
    found = {}
    for place, number in zip(places, columns, strict=True):
        if fits[place, number]:
            role, column = roles[place], files.columns[number]
            close = np.flatnonzero(fits[place] & (scores[place] > scores[place, number] - CLOSE))
            rivals = tuple(files.columns[each] for each in close if each != number)
            why = reasons(ROLES[kind][role], column, facts)
            common = files.common.get(column.name) if role in NEEDED[kind] else None
            found[role] = Role(column, ", ".join(filter(None, (why, common))), rivals)
    taken = {role.column for role in found.values()}
    free = {name: tuple(rival for rival in role.rivals if rival not in taken) for name, role in found.items()}
    return {
        name: role if name in NEEDED[kind] else Role(role.column, role.reasons, free[name])
        for name, role in found.items()
    }
