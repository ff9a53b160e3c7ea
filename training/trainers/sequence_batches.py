"""A rank's histories -> its part of the batches of an epoch, the same for the same seed and ranks.

Every random choice (order of users, windows, dropout) is drawn from the seed, the epoch and the rank. Every rank cuts
its users into the same number of parts: a rank with fewer would leave the others waiting for ever.
Shapes: G users of a part, L positions, D factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.base import DAY, F32, I64, Examples, Histories, decay_weights
from models.sequence import SequenceParams, windows
from training.distributed import Group


@dataclass(frozen=True)
class Batch:
    """Some of a rank's users of a step, with histories of similar length; a target of weight 0 is padding."""

    inputs_GL: I64
    targets_GL: I64
    periods_GL: I64
    """Period in which the user liked the target: what was popular then is part of why."""
    weights_GL: F32
    shown_GL: F32
    """0 for a like that is dropped, a little over 1 for the others."""


def steps_of_an_epoch(histories: Histories, params: SequenceParams, group: Group) -> int:
    """By the users of all ranks together, so that it is one number for all."""
    users = group.sum(np.array([len(histories)], np.float64))[0]
    return -(-int(users) // params.batch)


def batches(
    histories: Histories,
    items: int,
    params: SequenceParams,
    *,
    steps: int,
    piece: int,
    starts_P: I64,
    rng: np.random.Generator,
) -> Iterator[list[Batch]]:
    """A rank's part of one epoch: each of its users once, with a window of at most `length` targets.

    A step's users come in pieces of at most so many, those with histories of similar length together: less padding.
    """
    lengths_B = histories.lengths_B
    for rows in np.array_split(rng.permutation(len(histories)), steps):
        firsts = rng.integers(0, np.maximum(lengths_B[rows] - params.length, 0) + 1)
        order = np.argsort(np.minimum(lengths_B[rows], params.length), kind="stable")
        yield [
            _batch(histories, rows[some], firsts[some], items, params, starts_P, rng)
            for some in np.split(order, range(piece, len(order), piece))
        ]


def _batch(
    histories: Histories,
    rows: I64,
    firsts: I64,
    items: int,
    params: SequenceParams,
    starts_P: I64,
    rng: np.random.Generator,
) -> Batch:
    inputs_GL, lengths_G = windows(histories, rows, firsts, params.length, items)
    places_L = np.arange(inputs_GL.shape[1] - 1)
    # What position l must predict: one of the `horizon` likes that follow the l-th.
    ends_G = histories.indptr[rows + 1]
    follows_GL = (histories.indptr[rows] + firsts)[:, None] + places_L
    ahead_GL = np.minimum(ends_G[:, None] - follows_GL, params.horizon)
    inside_GL = places_L < lengths_G[:, None]
    events_GL = np.where(inside_GL, follows_GL + (rng.random(follows_GL.shape) * ahead_GL).astype(np.int64), 0)
    worth_GL = histories.weights[events_GL] * inside_GL
    worth_GL[:, 0] *= firsts == 0  # the start token stands for an empty history, not for a long one cut off
    shown_GL = (rng.random(follows_GL.shape) >= params.item_dropout).astype(np.float32)
    shown_GL /= np.float32(1 - params.item_dropout)
    shown_GL[:, 0] = 1
    targets_GL = histories.items[events_GL].astype(np.int64)
    periods_GL = np.searchsorted(starts_P, histories.times[events_GL], side="right") - 1
    return Batch(inputs_GL[:, :-1], targets_GL, periods_GL, worth_GL.astype(np.float32), shown_GL)


def popularity_by_period(examples: Examples, half_life_days: float, group: Group, periods: int = 64) -> tuple[I64, F32]:
    """Cuts the time before the cut into periods of about equally many likes, and says what was popular as each began.

    Returns (starts_P: Unix seconds, logs: (P + 1) x I), of all ranks' likes. A like is halved every `half_life_days`; a
    period knows only the likes before it; the first has no start, the last row is as of the cut.
    """
    likes, items = examples.histories, len(examples.item_ids)
    starts_P = _starts(likes, group, periods)
    ends_P = np.append(starts_P[1:], examples.cut)
    fresh_PI = np.zeros((len(starts_P), items))
    for first in range(0, len(likes.times), BLOCK):
        block = slice(first, first + BLOCK)
        period_N = np.searchsorted(starts_P, likes.times[block], side="right") - 1
        worth_N = decay_weights(likes.weights[block], likes.times[block], ends_P[period_N], half_life_days)
        np.add.at(fresh_PI, (period_N, likes.items[block]), worth_N)
    fresh_PI = group.sum(fresh_PI)
    popular_PI = np.zeros((len(starts_P) + 1, items))
    for period, (start, end) in enumerate(zip(starts_P, ends_P, strict=True)):
        popular_PI[period + 1] = popular_PI[period] * 0.5 ** ((end - start) / (half_life_days * DAY)) + fresh_PI[period]
    logs_PI = np.log(popular_PI + SMOOTH)
    return starts_P, (logs_PI - logs_PI.mean(axis=1, keepdims=True)).astype(np.float32)


def _starts(likes: Histories, group: Group, periods: int) -> I64:
    """Starts of periods with about equally many likes: the mean over the ranks that have likes, each by a sample."""
    times = np.sort(likes.times[:: -(-len(likes.times) // BLOCK) or 1])
    own = times[np.arange(periods) * len(times) // periods] if len(times) else np.zeros(periods)
    summed = group.sum(np.append(own, float(len(times) > 0)))
    starts_P = np.unique((summed[:-1] / summed[-1]).astype(np.int64))
    starts_P[0] = -(2**62)  # some rank's first like is before the mean of all ranks'
    return starts_P


SMOOTH = 1.0
BLOCK = 1_000_000
"""Likes that are looked at together."""
