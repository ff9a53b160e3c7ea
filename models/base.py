"""What all models have in common: they are trained on examples, and then score items for histories.

Shapes: B users, I items, D factors, N events. A *hot* user or item has many events in training, a *warm* one few, a
*cold* one none: the docstring of each model says what they get.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.sparse import csr_array

from models.features import Features

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Strings = NDArray[np.str_]


@dataclass(frozen=True)
class Histories:
    """What B users liked (weight > 0), oldest first, as CSR arrays; items are indices into one model's item order."""

    indptr: I64
    """B + 1: user b owns events indptr[b] .. indptr[b + 1]."""
    items: I32
    weights: F32
    times: I64
    """Unix seconds."""
    user_features: Features | None = None
    """Of each user; None where nobody has any."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths_B(self) -> I64:
        return np.diff(self.indptr)

    @property
    def rows_N(self) -> I64:
        """User of each event."""
        return np.repeat(np.arange(len(self)), self.lengths_B)

    def of(self, rows: I64) -> Self:
        """The histories of some users, in the order of `rows`."""
        lengths = self.lengths_B[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(self.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        features = self.user_features.of(rows) if self.user_features else None
        return type(self)(indptr, self.items[events], self.weights[events], self.times[events], features)

    def reindexed(self, index: I64) -> Self:
        """The same histories in another item order: `index` has each item's new index, -1 for an item to drop."""
        items = index[self.items]
        keep = items >= 0
        reindexed = self._of(len(self), self.rows_N[keep], items[keep], self.weights[keep], self.times[keep])
        return replace(reindexed, user_features=self.user_features)

    def matrix(self, items: int, weights: F32 | None = None) -> csr_array:
        """B x `items` float32, the weights (or others given for the events) summed where events repeat."""
        values = self.weights if weights is None else weights
        # A copy: summing sorts the arrays where they are, and the order of a history must not change.
        matrix = csr_array((values, self.items, self.indptr), shape=(len(self), items), copy=True)
        matrix.sum_duplicates()
        return matrix

    @classmethod
    def from_lists(
        cls,
        item_ids: Strings,
        items: Iterable[Sequence[str]],
        weights: Iterable[Sequence[float]],
        times: Iterable[Sequence[int]],
        features: Iterable[Sequence[str]] | None = None,
    ) -> Self:
        """One list per user each, events oldest first, times in Unix seconds; `features` are those of each user.

        Items that the model does not know are dropped, and so are events of weight 0 (seen, not liked).
        """
        known = positions(item_ids)
        users = list(items)
        indices = np.fromiter((known.get(item, -1) for item in chain.from_iterable(users)), np.int32)
        rows = np.repeat(np.arange(len(users)), [len(user) for user in users])
        flat_weights = np.fromiter(chain.from_iterable(weights), np.float32)
        flat_times = np.fromiter(chain.from_iterable(times), np.int64)
        return cls.from_sorted(len(users), rows, indices, flat_weights, flat_times, features)

    @classmethod
    def from_sorted(
        cls,
        users: int,
        rows: I64,
        items: I32,
        weights: F32,
        times: I64,
        features: Iterable[Sequence[str]] | None = None,
    ) -> Self:
        """As from_lists(), of events by user (`rows`), oldest first; -1 for an item that the model does not know."""
        keep = (items >= 0) & (weights > 0)
        histories = cls._of(users, rows[keep], items[keep], weights[keep], times[keep])
        return histories if features is None else replace(histories, user_features=Features.from_lists(features))

    @classmethod
    def from_events(cls, users: int, rows: I32 | I64, items: I32, weights: F32, times: I64) -> Self:
        """Events in any order -> histories of users 0..users - 1; events of one second are put in item order.

        The same events give the same arrays, in whatever order they come.
        """
        order = np.lexsort((weights, items, times, rows))
        return cls._of(users, rows[order], items[order], weights[order], times[order])

    @classmethod
    def _of(cls, users: int, rows: I32 | I64, items: I32 | I64, weights: F32, times: I64) -> Self:
        indptr = np.zeros(users + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=users), out=indptr[1:])
        return cls(indptr, items.astype(np.int32), weights.astype(np.float32), times.astype(np.int64))


@dataclass(frozen=True)
class Examples:
    """What a model is trained on: the likes of all users before the cut."""

    item_ids: Strings
    """Every item that somebody liked, and for a model that takes features every one that was described, sorted; the
    item order of the models trained on this."""
    histories: Histories
    """One per user, none empty."""
    cut: int
    """First Unix second that is not trained on."""
    seed: int
    item_features: Features | None = None
    """For a model that takes them; those of the users are in `histories`."""


class Params(BaseModel):
    """A model's hyper-parameters; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


DAY = 86_400  # seconds


def decay_weights(weights: F32, times: I64, cut: int | I64, half_life_days: float) -> F32:
    """Weights, halved for every `half_life_days` between the event and the cut; any one shape."""
    return np.asarray(weights * 0.5 ** ((cut - times) / (half_life_days * DAY)), np.float32)


Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch (counted from 1) with its figures, e.g. {"loss": 3.2}; on the root rank only."""


def no_report(epoch: int, figures: dict[str, float]) -> None:
    """A Report for whoever does not want one."""


def positions(item_ids: Strings) -> Mapping[str, int]:
    """Item id -> index in the model's item order."""
    return {item: index for index, item in enumerate(item_ids.tolist())}


def item_index(item_ids: Strings, order: Strings) -> I64:
    """Each item's index in another item order, -1 for one that is not there."""
    there = positions(order)
    return np.array([there.get(item, -1) for item in item_ids.tolist()], np.int64)


class TrainedModel(Protocol):
    """What both shapes promise. Scores compare within one user only. Every history gets a ranking, the empty one too.
    Immutable once trained.
    """

    name: ClassVar[str]
    """As in nightloom.toml; the name of the model's file."""

    @property
    def params(self) -> Params: ...

    @property
    def item_ids(self) -> Strings:
        """The model's item order: items that somebody liked before the training's cut."""
        ...

    def contributions(self, history: Histories, item: int) -> F32:
        """How much each event of one user's history adds to the score of `item`: N numbers, may be negative."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; models.load() reads them."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save() wrote; the arrays stay on disk until used (mmap), shared by processes of a machine."""
        ...


@runtime_checkable
class FactorModel(TrainedModel, Protocol):
    """Score of item i for user b = encode(histories)[b] . items_ID[i] + bias_I[i]."""

    @property
    def items_ID(self) -> F32: ...

    @property
    def bias_I(self) -> F32 | None: ...

    def encode(self, histories: Histories) -> F32:
        """User vectors, B x D. A batch gives what its users give one by one, up to float32 rounding."""
        ...


@runtime_checkable
class BlockModel(TrainedModel, Protocol):
    """Scores every item for a block of users at once, where no vector of a user is enough."""

    def scores(self, histories: Histories) -> F32:
        """B x I. A batch gives what its users give one by one, up to float32 rounding."""
        ...


@runtime_checkable
class MixedModel(BlockModel, Protocol):
    """Made of models whose scores have a scale of their own for each user: two users' scores do not compare."""

    def lift(self, histories: Histories) -> F32:
        """B x I: what each history adds to the scores; see models.recommend.lift()."""
        ...


Model: TypeAlias = FactorModel | BlockModel


@runtime_checkable
class ExtendableModel(TrainedModel, Protocol):
    """Takes items that came after its training, without another one."""

    def extended(self, examples: Examples) -> Self:
        """The model in the item order of `examples`, which hold every like up to now.

        A known item keeps what the training learnt of it; a new one gets its numbers from the users who like it, or
        from its features. Popularity is that of the examples' cut. Items that nobody likes any more are left out.
        """
        ...


def leave_one_out(model: FactorModel, history: Histories, item: int) -> F32:
    """Contributions of any factor model: the score of `item` with the history, less that without each event, N numbers.

    They need not add up to the score: of two events that say the same, each looks useless.
    """
    events = len(history.items)
    if not events:
        return np.empty(0, np.float32)
    others = np.array([[j for j in range(events) if j != left_out] for left_out in range(events)], np.int64)
    chosen = np.concatenate([np.arange(events), others.ravel()])
    indptr = np.concatenate([[0], events + np.arange(events + 1) * (events - 1)]).astype(np.int64)
    variants = Histories(indptr, history.items[chosen], history.weights[chosen], history.times[chosen])
    found = model.encode(variants) @ model.items_ID[item]
    return np.asarray(found[0] - found[1:], np.float32)


def write(folder: Path, model: TrainedModel, **arrays: NDArray[Any]) -> None:
    """model.json (name, params) and one .npy per array; no pickle, so that loading runs no code."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in {"item_ids": model.item_ids, **arrays}.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    description = {"name": model.name, "params": model.params.model_dump()}
    (folder / "model.json").write_text(json.dumps(description, indent=2, sort_keys=True))


def read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What write() wrote: the params, and the arrays by name, mapped rather than loaded."""
    arrays = {
        RENAMED.get(file.stem, file.stem): np.load(file, mmap_mode="r", allow_pickle=False)
        for file in sorted(folder.glob("*.npy"))
    }
    params = json.loads((folder / "model.json").read_text())["params"]
    return {RENAMED.get(name, name): value for name, value in params.items()}, arrays


RENAMED = {
    "rate": "learning_rate", "decay": "weight_decay", "hidden": "item_dropout", "personal": "logit_scale",
    "mixing_rate": "mixing_learning_rate", "hidden_items": "item_dropout", "hidden_histories": "history_dropout",
    "most": "max_features", "judges": "validation_users", "theirs": "member_params",
    "words": "features", "user_words": "user_features", "trust": "popularity_weight",
}  # fmt: skip
"""Old name -> new name of a hyper-parameter or an array: models that were saved under the old one still load."""
