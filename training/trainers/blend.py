"""Training a blend: its members, and the weights that make the lists of later days best.

First the members are trained without the latest likes. Then the weights are moved, one at a time, as long as the lists
of the users who gave these likes become better (NDCG). At last the members are trained again on everything.
Shapes: B users of a block, I items, M members, T users who judge, C candidates of a user, K list length, V moves.
"""

from dataclasses import replace
from itertools import product

import numpy as np
from scipy.sparse import csr_array

from models.base import DAY, F32, Examples, Histories, Model, Report, no_report
from models.blend import Blend, BlendParams, scaled
from models.recommend import SCORES_PER_BLOCK, scores
from models.segments import Segments, SegmentsParams
from nightloom.errors import DataError
from nightloom.topk import Bools, topk_of_scores
from training import trainers
from training.ranking_metrics import F64, ndcg

CANDIDATES = 100  # of each member and user: among them the weights are chosen
DRAWN = 0.1
STEPS = (0.0, 0.5, 0.8, 1.25, 2.0)  # what a weight is multiplied by, to see whether the lists become better


def fit(examples: Examples, params: BlendParams, report: Report) -> Blend:
    """Reports the NDCG of the likes held out, and each member's weight."""
    earlier, judges, targets = held_out(examples, params)
    weights_M, reached = chosen(trained(earlier, params), judges, targets, params.k)
    report(1, {"ndcg": reached, **{name: float(w) for name, w in zip(params.names, weights_M, strict=True)}})
    segments = None
    if params.segments and examples.histories.traits:
        segments = Segments.fit(examples, SegmentsParams(**params.of("segments")), report)
    return Blend(params, examples.item_ids, trained(examples, params), weights_M, segments)


def trained(examples: Examples, params: BlendParams) -> tuple[Model, ...]:
    """Every member, one after another, in this process."""
    return tuple(trainers.fit(name, examples, params.of(name), no_report) for name in params.names)


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
