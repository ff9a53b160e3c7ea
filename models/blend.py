"""Blend: the scores of several models, put on one scale per user and added, with weights that later likes chose.

First the members are trained without the latest likes, and the weights are moved, one at a time, as long as the lists
of the users who gave these likes become better (NDCG). Then the members are trained anew on everything. What is said of
users, their words, is added by the lift of popularity by segment (segments.py).
Shapes: B users of a block, I items, M members, T users who judge, C candidates of a user, K list length, V moves.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator
from scipy.sparse import csr_array

import models
from models.base import DAY, F32, Examples, Histories, Model, Params, Report, Strings, read, write
from models.recommend import SCORES_PER_BLOCK, lift, scores
from models.segments import Segments
from nightloom.errors import DataError
from nightloom.topk import Bools, topk_of_scores
from training.ranking_metrics import F64, ndcg

CANDIDATES = 100  # of each member and user: among them the weights are chosen
DRAWN = 0.1
STEPS = (0.0, 0.5, 0.8, 1.25, 2.0)  # what a weight is multiplied by, to see whether the lists become better


class BlendParams(Params):
    members: str = "graph, als"
    """Names of models, with commas between them."""
    theirs: dict[str, float | int | str | bool] = Field({})
    """Hyper-parameters of members, each given to the blend as "MEMBER.NAME", e.g. "als.factors" = 64."""
    held_out_days: float = Field(7, ge=0)
    """The last days before the cut choose the weights; 0: a tenth of all likes, drawn, do."""
    judges: int = Field(5000, ge=1)
    """Users who choose, at most."""
    segments: bool = True
    """Whether what users with the same words like more than others is added, with the parameters "segments.NAME"."""
    k: int = Field(20, ge=1)
    """Length of the lists that are compared."""

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self.members.split(",")]

    def of(self, member: str) -> dict[str, float | int | str | bool]:
        """One member's own hyper-parameters."""
        return {name.partition(".")[2]: value for name, value in self.theirs.items() if name.startswith(f"{member}.")}

    @field_validator("members")
    @classmethod
    def _models(cls, members: str) -> str:
        # A model that takes what is said of items would be trained without it here; segments are added by themselves.
        there = {name for name, kind in models.KINDS.items() if not kind.item_words} - {"blend", "segments"}
        for name in members.split(","):
            if name.strip() not in there:
                raise ValueError(f"no member can be '{name.strip()}'; there are {', '.join(sorted(there))}")
        return members

    @field_validator("theirs")
    @classmethod
    def _belong_to_a_member(cls, theirs: dict[str, Any], known: ValidationInfo) -> dict[str, Any]:
        members = known.data.get("members", "")
        for name in theirs:
            if name.partition(".")[0] not in ("segments", *members.replace(" ", "").split(",")):
                raise ValueError(f"'{name}' belongs to no member; the members are {members}")
        return theirs


@dataclass(frozen=True)
class Blend:
    """Users and items, hot, warm and cold: what the members say, each by its weight; a cold item is in no member. Where
    users have words, these move the scores as far as they move what is popular: all that is known of a cold user.
    """

    name: ClassVar[str] = "blend"
    params: BlendParams
    item_ids: Strings
    members: tuple[Model, ...]
    weights_M: F32
    segments: Segments | None = None

    @classmethod
    def fit(cls, examples: Examples, params: dict[str, Any], report: Report) -> Self:
        """Reports the NDCG of the likes held out, and each member's weight."""
        theirs = {name: value for name, value in params.items() if "." in name}
        known = BlendParams(**{name: value for name, value in params.items() if name not in theirs}, theirs=theirs)
        earlier, judges, targets = held_out(examples, known)
        weights_M, reached = chosen(trained(earlier, known), judges, targets, known.k)
        report(1, {"ndcg": reached, **{name: float(w) for name, w in zip(known.names, weights_M, strict=True)}})
        by_words = known.segments and examples.histories.traits
        segments = Segments.fit(examples, known.of("segments"), report) if by_words else None
        return cls(known, examples.item_ids, trained(examples, known), weights_M, segments)

    def scores(self, histories: Histories) -> F32:
        both = (w * scaled(scores(member, histories)) for w, member in zip(self.weights_M, self.members, strict=True))
        return np.asarray(sum(both) + self._by_words(histories), np.float32)

    def lift(self, histories: Histories) -> F32:
        """The members' own, each by its weight and scale."""
        both = zip(self.weights_M, self.members, strict=True)
        lifts = (w / spread(scores(member, histories)) * lift(member, histories) for w, member in both)
        return np.asarray(sum(lifts) + self._by_words(histories), np.float32)

    def _by_words(self, histories: Histories) -> F32:
        """How the users' words move what is popular, on the scale of the members: there it is part of each already."""
        if self.segments is None or not histories.traits:
            return np.zeros(1, np.float32)
        return lift(self.segments, histories) / spread(self.segments.items_ID[None, :, 0])

    def contributions(self, history: Histories, item: int) -> F32:
        """The members' own, each by its weight and scale; the scale is taken as given."""
        total_N = np.zeros(len(history.items), np.float32)
        for weight, member in zip(self.weights_M, self.members, strict=True):
            total_N += weight / spread(scores(member, history))[0] * member.contributions(history, item)
        return total_N

    def save(self, folder: Path) -> None:
        write(folder, self, weights=self.weights_M)
        for name, member in zip(self.params.names, self.members, strict=True):
            member.save(folder / name)
        if self.segments:
            self.segments.save(folder / "segments")

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        known = BlendParams(**params)
        members = tuple(models.load(folder / name) for name in known.names)
        segments = Segments.load(folder / "segments") if (folder / "segments").exists() else None
        return cls(known, arrays["item_ids"], members, arrays["weights"], segments)


def trained(examples: Examples, params: BlendParams) -> tuple[Model, ...]:
    """Every member, one after another, in this process."""
    kinds = [models.KINDS[name].type() for name in params.names]
    named = zip(kinds, params.names, strict=True)
    return tuple(kind.fit(examples, params.of(name), lambda epoch, figures: None) for kind, name in named)


def spread(scores_BI: F32) -> F32:
    """Each user's standard deviation over the items, B x 1; 1 where all items score the same."""
    spread_B1 = scores_BI.std(axis=1, keepdims=True)
    return np.where(spread_B1 > 0, spread_B1, np.float32(1))


def scaled(scores_BI: F32) -> F32:
    """Mean 0 and standard deviation 1 for each user: what members say can be added."""
    return np.asarray((scores_BI - scores_BI.mean(axis=1, keepdims=True)) / spread(scores_BI), np.float32)


def held_out(examples: Examples, params: BlendParams) -> tuple[Examples, Histories, csr_array]:
    """What the members are trained on first; the judges in it; T x I, what each liked only later."""
    events, rng = examples.histories, np.random.default_rng(examples.seed)
    cut = examples.cut - int(params.held_out_days * DAY)
    later_N = events.times >= cut if params.held_out_days else rng.random(len(events.items)) < DRAWN
    before, later = (
        Histories.from_events(len(events), events.rows_N[n], events.items[n], events.weights[n], events.times[n])
        for n in (~later_N, later_N)
    )
    index = np.full(len(examples.item_ids), -1)
    index[np.unique(before.items)] = np.arange(len(np.unique(before.items)))
    before, later = before.renamed(index), later.renamed(index)
    users, item_ids = np.flatnonzero(before.lengths_B), examples.item_ids[index >= 0]
    had, liked = (each.of(users).matrix(len(item_ids)) > 0 for each in (before, later))
    targets = csr_array(liked > liked.multiply(had))
    judges = np.flatnonzero(np.diff(targets.indptr))
    if not len(judges):
        raise DataError(
            f"models: blend: nobody with a history liked anything new in the last {params.held_out_days:g} days, so "
            "nothing chooses the weights; raise params.held_out_days, or set 0 to hold out a tenth of all likes"
        )
    judges = np.sort(rng.permutation(judges)[: params.judges])
    earlier = replace(examples, item_ids=item_ids, histories=before.of(users), cut=cut)
    return earlier, earlier.histories.of(judges), targets[judges]


def chosen(members: tuple[Model, ...], judges: Histories, targets: csr_array, k: int) -> tuple[F32, float]:
    """The weights that make the judges' lists best, and the NDCG reached: from equal ones on, the best move that helps.

    Helps: the judges' gains together are above twice what as many gains of either sign, by chance, would come to. So it
    takes more than four judges who gain to move a weight: equal ones are better than what two or three happen to like.
    """
    said_TCM, hit_TC, again_TC = candidates(members, judges, targets)
    targets_T = np.diff(targets.indptr)

    def reached(weights_M: F32) -> F64:
        scores_TC = np.where(again_TC, -np.inf, said_TCM @ weights_M)
        best_TK = np.argsort(-scores_TC, axis=1, kind="stable")[:, :k]
        return ndcg(np.take_along_axis(hit_TC, best_TK, axis=1), targets_T)

    best_M = np.full(len(members), 1 / len(members), np.float32)
    best_T = reached(best_M)
    while True:
        tried = [best_M * factors_M for factors_M in moves(len(members))]
        reached_VT = np.stack([reached(weights_M) for weights_M in tried])
        gains_VT = reached_VT - best_T
        gains_V = np.where(gains_VT.sum(axis=1) > 2 * np.linalg.norm(gains_VT, axis=1), gains_VT.sum(axis=1), 0)
        best = int(gains_V.argmax())
        if gains_V[best] <= 0:
            return best_M, float(best_T.mean())
        best_M, best_T = tried[best], reached_VT[best]


def moves(members: int) -> list[F32]:
    """What weights may be multiplied by, M each: one member's by one of STEPS, the others' by 1."""
    return [
        np.where(np.arange(members) == member, np.float32(step), np.float32(1))
        for member, step in product(range(members), STEPS)
    ]


def candidates(members: tuple[Model, ...], judges: Histories, targets: csr_array) -> tuple[F32, Bools, Bools]:
    """What each member says of each judge's candidates, T x C x M; whether they are targets, T x C; which to pass over.

    Candidates are the best of each member, by index; one that stands there again, or is no item, is passed over.
    """
    said, hit, again = [], [], []
    step = max(1, SCORES_PER_BLOCK // targets.shape[1])
    for rows in (np.arange(start, min(start + step, len(judges))) for start in range(0, len(judges), step)):
        had = judges.of(rows).matrix(targets.shape[1])
        all_MBI = [scaled(scores(member, judges.of(rows))) for member in members]
        ids_BC = np.concatenate([topk_of_scores(each_BI, CANDIDATES, seen=had)[0] for each_BI in all_MBI], axis=1)
        ids_BC.sort(axis=1)
        again_BC = np.diff(ids_BC, axis=1, prepend=-1) == 0
        said.append(np.stack([np.take_along_axis(each_BI, ids_BC, axis=1) for each_BI in all_MBI], axis=2))
        hit.append(np.take_along_axis(targets[rows].toarray(), ids_BC, axis=1) & ~again_BC)
        again.append(again_BC)
    return np.concatenate(said), np.concatenate(hit), np.concatenate(again)
