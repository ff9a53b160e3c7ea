"""Training a blend: its members, and the weights that make the lists of later days best.

Members are trained twice: without the latest likes, and from there on everything. The weights are moved, one at a time,
as long as the lists that the first ones give to the users of these likes become better (NDCG). The second ones get the
weights.
Shapes: B users of a block, I items, M members, T validation users, C candidates of a user, K list length, V changes.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.sparse import csr_array

from models.base import DAY, F32, Examples, Histories, Model, Report, no_report
from models.blend import Blend, BlendParams, standardise
from models.recommend import SCORES_PER_BLOCK, scores
from models.segments import Segments, SegmentsParams
from nightloom.errors import DataError
from nightloom.topk import Bools, topk_of_scores
from training import trainers
from training.ranking_metrics import F64, ndcg

CANDIDATES = 100  # of each member and user: among them the weights are chosen
RANDOM_SHARE = 0.1  # of all likes, held out where no days are
FACTORS = (0.0, 0.5, 0.8, 1.25, 2.0)  # what a weight is multiplied by, to see whether the lists become better


@dataclass(frozen=True)
class Validation:
    """Users who liked something new after the members were trained; items in the order of `earlier`."""

    earlier: Examples
    """What the members are trained on for the choice of their weights."""
    histories: Histories
    """Of T users, as of `earlier`."""
    targets: csr_array
    """T x I, what each liked only later."""


@dataclass(frozen=True)
class Members:
    """Trained members, in the order of the parameters."""

    models: tuple[Model, ...]
    """Trained on everything."""
    earlier: tuple[Model, ...] = ()
    """Trained without the days that choose the weights."""


def fit(examples: Examples, params: BlendParams, report: Report) -> Blend:
    """Reports the NDCG of the likes held out, and each member's weight."""
    validation = hold_out(examples, params)
    earlier = tuple(trainers.fit(name, validation.earlier, params.of(name), no_report) for name in params.names)
    members = tuple(trainers.refit(member, examples) for member in earlier)
    return _weigh(examples, params, validation, Members(members, earlier), report)


def combine(examples: Examples, params: BlendParams, members: Members, report: Report) -> Blend:
    """Weigh members that were trained elsewhere (training/launch.py)."""
    return _weigh(examples, params, hold_out(examples, params), members, report)


def _weigh(examples: Examples, params: BlendParams, validation: Validation, members: Members, report: Report) -> Blend:
    weights_M, reached = choose_weights(members.earlier, validation, params.k)
    report(1, {"ndcg": reached, **{name: float(w) for name, w in zip(params.names, weights_M, strict=True)}})
    return Blend(params, examples.item_ids, members.models, weights_M, fit_segments(examples, params, report))


def refit(judged: Blend, examples: Examples, report: Report) -> Blend:
    """Refit every member; the weights stay, for the likes that chose them are trained on now."""
    members = tuple(trainers.refit(member, examples) for member in judged.members)
    return replace_members(judged, examples, members, report)


def replace_members(judged: Blend, examples: Examples, members: tuple[Model, ...], report: Report) -> Blend:
    """A judged blend with members that were trained on more examples."""
    segments = fit_segments(examples, judged.params, report)
    return Blend(judged.params, examples.item_ids, members, judged.weights_M, segments)


def fit_segments(examples: Examples, params: BlendParams, report: Report) -> Segments | None:
    """The lifts of user features; None without features, or where the parameters leave them out."""
    if not (params.segments and examples.histories.user_features):
        return None
    return Segments.fit(examples, SegmentsParams(**params.of("segments")), report)


def hold_out(examples: Examples, params: BlendParams) -> Validation:
    """The last days before the cut, or likes drawn at random. Raises DataError where nobody liked anything new then."""
    events, rng = examples.histories, np.random.default_rng(examples.seed)
    cut = examples.cut - int(params.held_out_days * DAY)
    later_N = events.times >= cut if params.held_out_days else rng.random(len(events.items)) < RANDOM_SHARE
    before, later = (
        Histories.from_events(len(events), events.rows_N[n], events.items[n], events.weights[n], events.times[n])
        for n in (~later_N, later_N)
    )
    index = np.full(len(examples.item_ids), -1)
    index[np.unique(before.items)] = np.arange(len(np.unique(before.items)))
    before, later = before.reindexed(index), later.reindexed(index)
    users, item_ids = np.flatnonzero(before.lengths_B), examples.item_ids[index >= 0]
    seen, liked = (each.of(users).matrix(len(item_ids)) > 0 for each in (before, later))
    targets = csr_array(liked > liked.multiply(seen))
    chosen = np.flatnonzero(np.diff(targets.indptr))
    if not len(chosen):
        raise DataError(
            f"models: blend: nobody with a history liked anything new in the last {params.held_out_days:g} days, so "
            "nothing chooses the weights; raise params.held_out_days, or set 0 to hold out a tenth of all likes"
        )
    chosen = np.sort(rng.permutation(chosen)[: params.validation_users])
    earlier = replace(examples, item_ids=item_ids, histories=before.of(users), cut=cut)
    return Validation(earlier, earlier.histories.of(chosen), targets[chosen])


def choose_weights(members: tuple[Model, ...], validation: Validation, k: int) -> tuple[F32, float]:
    """The weights that make the users' lists best, and their NDCG: from equal weights on, always the best change that
    helps.

    A change helps if the sum of the users' gains is above twice what as many gains of random sign would come to. So it
    takes more than four users who gain to change a weight: equal ones are better than what two or three happen to like.
    """
    scores_TCM, hits_TC, duplicates_TC = candidates(members, validation)
    targets_T = np.diff(validation.targets.indptr)

    def evaluate(weights_M: F32) -> F64:
        scores_TC = np.where(duplicates_TC, -np.inf, scores_TCM @ weights_M)
        best_TK = np.argsort(-scores_TC, axis=1, kind="stable")[:, :k]
        return ndcg(np.take_along_axis(hits_TC, best_TK, axis=1), targets_T)

    weights_M = np.full(len(members), 1 / len(members), np.float32)
    ndcg_T = evaluate(weights_M)
    while True:
        changed = [weights_M * factors_M for factors_M in weight_changes(len(members))]
        ndcg_VT = np.stack([evaluate(weights_M) for weights_M in changed])
        gains_VT = ndcg_VT - ndcg_T
        gains_V = np.where(gains_VT.sum(axis=1) > 2 * np.linalg.norm(gains_VT, axis=1), gains_VT.sum(axis=1), 0)
        best = int(gains_V.argmax())
        if gains_V[best] <= 0:
            return weights_M, float(ndcg_T.mean())
        weights_M, ndcg_T = changed[best], ndcg_VT[best]


def weight_changes(members: int) -> list[F32]:
    """What the weights may be multiplied by, M each: one member's by one of FACTORS, the others' by 1."""
    return [
        np.where(np.arange(members) == member, np.float32(factor), np.float32(1))
        for member, factor in product(range(members), FACTORS)
    ]


def candidates(members: tuple[Model, ...], validation: Validation) -> tuple[F32, Bools, Bools]:
    """Each member's score of each user's candidates, T x C x M; whether they are targets, T x C; which are duplicates.

    Candidates are the best items of each member, by index; no item at all counts as a duplicate, too.
    """
    targets, scored, hits, duplicates = validation.targets, [], [], []
    step = max(1, SCORES_PER_BLOCK // targets.shape[1])
    for start in range(0, targets.shape[0], step):
        rows = np.arange(start, min(start + step, targets.shape[0]))
        histories = validation.histories.of(rows)
        seen = histories.matrix(targets.shape[1])
        all_MBI = [standardise(scores(member, histories)) for member in members]
        ids_BC = np.concatenate([topk_of_scores(each_BI, CANDIDATES, seen=seen)[0] for each_BI in all_MBI], axis=1)
        ids_BC.sort(axis=1)
        duplicates_BC = np.diff(ids_BC, axis=1, prepend=-1) == 0
        scored.append(np.stack([np.take_along_axis(each_BI, ids_BC, axis=1) for each_BI in all_MBI], axis=2))
        hits.append(np.take_along_axis(targets[rows].toarray(), ids_BC, axis=1) & ~duplicates_BC)
        duplicates.append(duplicates_BC)
    return np.concatenate(scored), np.concatenate(hits), np.concatenate(duplicates)
