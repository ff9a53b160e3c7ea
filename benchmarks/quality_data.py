"""Public files of the two usual forms -> training examples and holdouts, for validation and for the test.

given-split: a folder with train.txt and test.txt, lines `user item item ...`, in no order of time. leave-one-out: one
file of sequences `user item item ...` in time order, or one `user item` per line, each user's lines in time order.
Files may be gzipped.
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
class Split:
    """Training examples, and the holdout: the users who have a target, with the items that they have seen."""

    examples: Examples
    holdout: Holdout


@dataclass(frozen=True)
class Splits:
    """Everything is chosen on `validation`; `test` is measured once, and its examples include the validation data."""

    validation: Split
    test: Split


@dataclass(frozen=True)
class Events:
    """N pairs of user and item; `places_N` is the place in the user's sequence, from 0."""

    users_N: I64
    items_N: I64
    places_N: I64

    def select(self, mask: np.typing.NDArray[np.bool_]) -> "Events":
        """The events where `mask` (N) is true."""
        return Events(self.users_N[mask], self.items_N[mask], self.places_N[mask])


def given_split(folder: Path) -> Splits:
    """Splits from train.txt and test.txt; validation is drawn at random from each user's items in train.txt.

    Its share of train.txt is the share of test.txt in both files, rounded up per user: another number of targets, or
    another length of histories, would favour other parameters. Raises DataFormError.
    """
    (train, test), user_ids, item_ids = _events([_file(folder / "train.txt"), _file(folder / "test.txt")])
    order = np.lexsort((np.random.default_rng(SEED).random(len(train.users_N)), train.users_N))
    places = np.empty(len(order), np.int64)
    places[order] = train.places_N  # lines are in the order of users, so each user's items get random places
    counts = np.bincount(train.users_N)
    share = len(test.users_N) / (len(train.users_N) + len(test.users_N))
    validation = (places < counts[train.users_N] * share) & (counts > 1)[train.users_N]
    return Splits(
        _split(train.select(~validation), train.select(validation), user_ids, item_ids),
        _split(train, test, user_ids, item_ids),
    )


def leave_one_out(file: Path) -> Splits:
    """Each user's last item is the test, the one before it validation; users of one or two items only train."""
    (events,), user_ids, item_ids = _events([_file(file)])
    lengths = np.bincount(events.users_N, minlength=len(user_ids))[events.users_N]
    remaining = np.where(lengths < 3, np.iinfo(np.int64).max, lengths - events.places_N)  # 1: the last item
    return Splits(
        _split(events.select(remaining > 2), events.select(remaining == 2), user_ids, item_ids),
        _split(events.select(remaining > 1), events.select(remaining == 1), user_ids, item_ids),
    )


PROTOCOLS = {"given-split": given_split, "leave-one-out": leave_one_out}


def _split(known: Events, targets: Events, user_ids: Strings, item_ids: Strings) -> Split:
    """Times are places in the sequence, one second apart: order counts, and no weight decays."""
    ones = np.ones(len(known.users_N), np.float32)
    histories = Histories.from_events(
        len(user_ids), known.users_N, known.items_N.astype(np.int32), ones, known.places_N
    )
    known_items = np.flatnonzero(np.bincount(known.items_N, minlength=len(item_ids)))
    index = np.full(len(item_ids), -1)
    index[known_items] = np.arange(len(known_items))
    nonempty = np.flatnonzero(histories.lengths_B)
    examples = Examples(
        item_ids[known_items], histories.of(nonempty).reindexed(index), int(known.places_N.max()) + 1, SEED
    )
    users = np.unique(targets.users_N)
    seen, later = (_matrix(events, user_ids, item_ids)[users] for events in (known, targets))
    return Split(examples, Holdout(user_ids[users], item_ids, histories.of(users), seen, later))


def _matrix(events: Events, user_ids: Strings, item_ids: Strings) -> csr_array:
    """Users x items, True where there is an event."""
    ones, shape = np.ones(len(events.users_N), np.bool_), (len(user_ids), len(item_ids))
    return csr_array((ones, (events.users_N, events.items_N)), shape=shape)


def _file(name: Path) -> Path:
    """The file, or the file of this name with .gz. Raises DataFormError."""
    for file in (name, name.with_name(f"{name.name}.gz")):
        if file.is_file():
            return file
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
