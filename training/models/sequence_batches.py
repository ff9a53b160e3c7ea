"""Histories -> the global batches of an epoch, the same on every rank and for any number of ranks.

All chance (order of users, windows, dropout) is drawn from the seed for the whole batch; a rank then takes its rows. So
the gradient averaged over the ranks is the gradient of one process on the whole batch, and every rank has equally many
steps: uneven ranks would wait for each other for ever. Shapes: G users of a batch, L positions, D factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from training.models.base import DAY, F32, I64, Examples, Histories, decayed

if TYPE_CHECKING:
    from training.models.sequence import SequenceParams


@dataclass(frozen=True)
class Batch:
    """Rows of one global batch; a target of weight 0 is padding."""

    inputs_GL: I64
    targets_GL: I64
    periods_GL: I64
    """Period in which the user liked the target: what was popular then is part of why."""
    weights_GL: F32
    """Sum to 1 over the global batch, so that the loss is a sum and not a mean."""
    shown_GL: F32
    kept_GD: F32

    def share(self, rank: int, size: int) -> Self:
        """This rank's rows; equally many for each, wrapped round with weight 0 where they do not come out even.

        Weights are multiplied by the number of ranks: ranks average gradients, and what is wanted is their sum.
        """
        users = len(self.inputs_GL)
        slots = np.arange(rank, -(-users // size) * size, size)
        rows = slots % users
        weights = self.weights_GL[rows] * np.where(slots < users, size, 0)[:, None].astype(np.float32)
        return type(self)(
            self.inputs_GL[rows],
            self.targets_GL[rows],
            self.periods_GL[rows],
            weights,
            self.shown_GL[rows],
            self.kept_GD[rows],
        )


Chance = np.random.Generator


def steps_of_an_epoch(histories: Histories, params: "SequenceParams") -> int:
    return -(-len(histories) // params.batch)


def batches(
    histories: Histories, items: int, params: "SequenceParams", *, starts_P: I64, seed: int, epoch: int
) -> Iterator[Batch]:
    """The global batches of one epoch: every user once, with a window of at most `length` targets."""
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(histories))
    for start in range(0, len(order), params.batch):
        rows = order[start : start + params.batch]
        spare = np.maximum(histories.lengths_B[rows] - params.length, 0)
        yield _batch(histories, rows, rng.integers(0, spare + 1), items, params, starts_P, rng)


def _batch(
    histories: Histories,
    rows: I64,
    firsts: I64,
    items: int,
    params: "SequenceParams",
    starts_P: I64,
    rng: np.random.Generator,
) -> Batch:
    inputs_GL, lengths_G = windows(histories, rows, firsts, params.length, items)
    places_L = np.arange(max(inputs_GL.shape[1] - 1, 1))
    # What position l must foretell: one of the `horizon` likes that follow the l-th.
    ends_G = histories.indptr[rows + 1]
    follows_GL = (histories.indptr[rows] + firsts)[:, None] + places_L
    ahead_GL = np.minimum(ends_G[:, None] - follows_GL, params.horizon)
    inside_GL = places_L < lengths_G[:, None]
    events_GL = np.where(inside_GL, follows_GL + (rng.random(follows_GL.shape) * ahead_GL).astype(np.int64), 0)
    worth_GL = histories.weights[events_GL] * inside_GL
    worth_GL[:, 0] *= firsts == 0  # the start token stands for an empty history, not for a long one cut off
    shown_GL = _mask(rng, follows_GL.shape, params.hidden)
    shown_GL[:, 0] = 1
    kept_GD = _mask(rng, (len(rows), params.factors), params.dropout)
    weights_GL = (worth_GL / max(worth_GL.sum(), 1e-12)).astype(np.float32)
    targets_GL = histories.items[events_GL].astype(np.int64)
    periods_GL = np.searchsorted(starts_P, histories.times[events_GL], side="right") - 1
    return Batch(inputs_GL[:, :-1], targets_GL, periods_GL, weights_GL, shown_GL, kept_GD)


def _mask(rng: np.random.Generator, shape: tuple[int, int], dropout: float) -> F32:
    return (rng.random(shape, np.float32) >= dropout).astype(np.float32) / np.float32(1 - dropout)


def windows(histories: Histories, rows: I64, firsts: I64, length: int, start_token: int) -> tuple[I64, I64]:
    """The start token, then up to `length` likes of each row from its event number `firsts` on, padded at the end.

    Returns (inputs: rows x (longest + 1) int64, likes in each row).
    """
    lengths = np.minimum(histories.lengths_B[rows] - firsts, length)
    places = np.arange(lengths.max(initial=0))
    events = (histories.indptr[rows] + firsts)[:, None] + places
    inside = places < lengths[:, None]
    inputs = np.full((len(rows), len(places) + 1), start_token, np.int64)
    inputs[:, 1:][inside] = histories.items[events[inside]]
    return inputs, lengths


def popularity_by_period(examples: Examples, half_life_days: float, periods: int = 64) -> tuple[I64, F32]:
    """Cuts the time before the cut into periods of equally many likes, and says what was popular as each began.

    Returns (starts_P: Unix seconds, logs: (P + 1) x I). A like is halved every `half_life_days`; a period knows only
    the likes before it; the last row is as of the cut.
    """
    likes, items = examples.histories, len(examples.item_ids)
    starts_P = np.unique(np.sort(likes.times)[np.arange(periods) * len(likes.times) // periods])
    ends_P = np.append(starts_P[1:], examples.cut)
    period_N = np.searchsorted(starts_P, likes.times, side="right") - 1
    popular_PI = np.zeros((len(starts_P) + 1, items))
    for period, (start, end) in enumerate(zip(starts_P, ends_P, strict=True)):
        inside = period_N == period
        worth = decayed(likes.weights[inside], likes.times[inside], int(end), half_life_days)
        fading = 0.5 ** ((end - start) / (half_life_days * DAY))
        popular_PI[period + 1] = popular_PI[period] * fading + np.bincount(likes.items[inside], worth, items)
    logs_PI = np.log(popular_PI + SMOOTH)
    return starts_P, (logs_PI - logs_PI.mean(axis=1, keepdims=True)).astype(np.float32)


SMOOTH = 1.0
