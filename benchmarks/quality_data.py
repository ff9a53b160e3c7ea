"""Public files of the two usual forms -> what is trained on, and the users who judge, for choosing and for the test.

given-split: a folder with train.txt and test.txt, lines `user item item ...`, no order in time; leave-one-out: one file
of sequences `user item item ...` in time order, or `user item` a line, each user's lines in time order. Gzipped or not.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from models.base import I64, Examples, Histories, Strings
from nightloom.errors import NightloomError
from training.dataset import Holdout

SEED = 0


class DataFormError(NightloomError):
    """A file is not in the form that the protocol reads."""


@dataclass(frozen=True)
class Round:
    """What is trained on, and who judges it: the users who have a target; what they have had is not listed again."""

    examples: Examples
    judges: Holdout


@dataclass(frozen=True)
class Rounds:
    """Everything is chosen on the first, the second is asked once; each is trained on all but its and later targets."""

    validation: Round
    test: Round


@dataclass(frozen=True)
class Events:
    """N pairs of user and item; `places_N` is the place in the user's sequence."""

    users_N: I64
    items_N: I64
    places_N: I64

    def of(self, chosen: np.typing.NDArray[np.bool_]) -> "Events":
        return Events(self.users_N[chosen], self.items_N[chosen], self.places_N[chosen])


def given_split(folder: Path) -> Rounds:
    """train.txt and test.txt; validation is drawn from each user's items in train.txt by a seed, rounded up.

    It is as large a share of train.txt as test.txt is of both: what is best for many targets and short histories is not
    what is best for few and long ones.
    """
    (train, test), user_ids, item_ids = _events([_file(folder / "train.txt"), _file(folder / "test.txt")])
    turns = np.lexsort((np.random.default_rng(SEED).random(len(train.users_N)), train.users_N))
    places = np.empty(len(turns), np.int64)
    places[turns] = train.places_N  # lines are in the order of users: a random place for each of a user's items
    counts = np.bincount(train.users_N)
    share = len(test.users_N) / (len(train.users_N) + len(test.users_N))
    taken = (places < counts[train.users_N] * share) & (counts > 1)[train.users_N]
    return Rounds(
        _round(train.of(~taken), train.of(taken), user_ids, item_ids), _round(train, test, user_ids, item_ids)
    )


def leave_one_out(file: Path) -> Rounds:
    """The last item of each user is the test, the one before validation; who has fewer than three judges nothing."""
    (events,), user_ids, item_ids = _events([_file(file)])
    lengths = np.bincount(events.users_N, minlength=len(user_ids))[events.users_N]
    left = np.where(lengths < 3, np.iinfo(np.int64).max, lengths - events.places_N)  # 1: the last one
    return Rounds(
        _round(events.of(left > 2), events.of(left == 2), user_ids, item_ids),
        _round(events.of(left > 1), events.of(left == 1), user_ids, item_ids),
    )


PROTOCOLS = {"given-split": given_split, "leave-one-out": leave_one_out}


def _round(known: Events, targets: Events, user_ids: Strings, item_ids: Strings) -> Round:
    """Times are places in a sequence, seconds apart: order is kept, and nothing fades with time."""
    ones = np.ones(len(known.users_N), np.float32)
    everybody = Histories.from_events(
        len(user_ids), known.users_N, known.items_N.astype(np.int32), ones, known.places_N
    )
    trained_on = np.flatnonzero(np.bincount(known.items_N, minlength=len(item_ids)))
    index = np.full(len(item_ids), -1)
    index[trained_on] = np.arange(len(trained_on))
    some = np.flatnonzero(everybody.lengths_B)
    examples = Examples(item_ids[trained_on], everybody.of(some).renamed(index), int(known.places_N.max()) + 1, SEED)
    judges = np.unique(targets.users_N)
    seen, wanted = (_matrix(events, user_ids, item_ids)[judges] for events in (known, targets))
    return Round(examples, Holdout(user_ids[judges], item_ids, everybody.of(judges), seen, wanted))


def _matrix(events: Events, user_ids: Strings, item_ids: Strings) -> csr_array:
    """Users x items, True where there is an event."""
    ones, shape = np.ones(len(events.users_N), np.bool_), (len(user_ids), len(item_ids))
    return csr_array((ones, (events.users_N, events.items_N)), shape=shape)


def _file(name: Path) -> Path:
    """The file itself or its gzipped twin. Raises DataFormError."""
    for found in (name, name.with_name(f"{name.name}.gz")):
        if found.is_file():
            return found
    raise DataFormError(
        f"no file {name} or {name.name}.gz; --data is a folder with train.txt and test.txt for "
        "given-split, one file of sequences for leave-one-out"
    )


def _events(files: list[Path]) -> tuple[list[Events], Strings, Strings]:
    """Each file's events, in its order, with users and items as indices into the sorted ids of all files."""
    pairs = [np.array(list(_pairs(file)), dtype=np.str_).reshape(-1, 2) for file in files]
    ends = np.cumsum([len(each) for each in pairs])[:-1]
    user_ids, users_N = np.unique(np.concatenate([each[:, 0] for each in pairs]), return_inverse=True)
    item_ids, items_N = np.unique(np.concatenate([each[:, 1] for each in pairs]), return_inverse=True)
    both = zip(np.split(users_N, ends), np.split(items_N, ends), strict=True)
    return [_in_order(users, items) for users, items in both], user_ids, item_ids


def _in_order(users_N: I64, items_N: I64) -> Events:
    """By user, each one's events in the file's order."""
    order = np.argsort(users_N, kind="stable")
    counts = np.bincount(users_N)
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Events(users_N[order], items_N[order], places)


def _pairs(file: Path) -> Iterator[tuple[str, str]]:
    """(user, item) of each item of each line."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else open(file) as lines:
        for number, line in enumerate(lines, 1):
            user, *items = line.split() or [""]
            if not user:
                raise DataFormError(f"{file}, line {number} is empty; a line is `user item item ...`")
            yield from ((user, item) for item in items)
