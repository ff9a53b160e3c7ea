"""A seed -> who there is on each day, how much they count, and what they do in a day: the structure behind the data.

Known and testable: users and items fall into clusters, and a user's events fall mostly on items of the same cluster;
popularity and activity follow a power law; some items rise; new users and items arrive every day; events come in
sessions, in which a cart follows a view of the same item, and a purchase follows that cart.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LATECOMERS = 0.3  # share of users and items that arrive after the first day
RISING = 0.1  # share of items that rise
RISE = 8.0  # factor by which a rising item's weight grows from the first day to the last
OWN_CLUSTER = 0.75  # share of events on items of the user's own cluster; the others follow popularity alone
SESSION_EVENTS = 4.0  # mean events in a session
FOLLOW_UP = 0.15  # chance that an event takes the previous one's item a step on: view, cart, purchase
PAUSE_SECONDS = 40.0  # mean time between two events of a session


@dataclass(frozen=True)
class Population:
    """Users or items, n of them, ordered by cluster; all arrays are (n) but `starts` (clusters + 1)."""

    cluster: Ints
    starts: Ints  # where each cluster begins, and n
    arrival: Ints  # day, from 0
    weight: Floats  # of being drawn, on the first day
    growth: Floats  # factor on the weight from the first day to the last

    def weights(self, part: float, day: int) -> Floats:
        """Weights (n) on `day`, `part` of the way from the first day (0) to the last (1); 0 before arrival."""
        return np.where(self.arrival <= day, self.weight * self.growth**part, 0.0)

    def arriving(self, day: int) -> Ints:
        """Indices of those who are new on `day`."""
        return np.flatnonzero(self.arrival == day)


def population(rng: np.random.Generator, n: int, clusters: int, days: int, skew: float, rising: float) -> Population:
    """n members in equal clusters, each cluster with one member on the first day; weight is rank ** -skew."""
    starts = np.arange(clusters + 1) * n // clusters
    late = rng.random(n) < LATECOMERS * (days > 1)
    arrival = np.where(late, rng.integers(1, max(days, 2), n), 0)
    arrival[starts[:-1]] = 0
    weight: Floats = np.power(rng.permutation(n) + 1.0, -skew)
    return Population(
        cluster=np.repeat(np.arange(clusters), np.diff(starts)),
        starts=starts,
        arrival=arrival,
        weight=weight,
        growth=np.where(rng.random(n) < rising, RISE, 1.0),
    )


def pick(rng: np.random.Generator, weights: Floats, first: Ints, last: Ints) -> Ints:
    """For each row, one index of first..last-1 by weight; each such range must hold a weight above 0."""
    heights = np.concatenate([[0.0], np.cumsum(weights)])
    low, high = heights[first], heights[last]
    # Rounding up to `high` would give the next range's first member.
    points = np.minimum(low + rng.random(len(first)) * (high - low), np.nextafter(high, low))
    index: Ints = np.searchsorted(heights, points, side="right") - 1
    return index


@dataclass(frozen=True)
class Actions:
    """n events in time order: who, on what, which step (0 view, 1 cart, 2 purchase), and the second of the day."""

    user: Ints
    item: Ints
    step: Ints
    second: Ints


def actions(
    rng: np.random.Generator, n: int, users: Population, items: Population, weights: tuple[Floats, Floats], window: Ints
) -> Actions:
    """n events (n > 0) within the seconds window[0]..window[1]-1; `weights` are the day's, of users and of items."""
    opens = rng.random(n) < 1 / SESSION_EVENTS
    opens[0] = True
    session, begins = np.cumsum(opens) - 1, np.flatnonzero(opens)
    everyone = np.zeros(len(begins), np.int64)
    user = pick(rng, weights[0], everyone, everyone + len(weights[0]))[session]
    own, cluster = rng.random(n) < OWN_CLUSTER, users.cluster[user]
    first = np.where(own, items.starts[cluster], 0)
    last = np.where(own, items.starts[cluster + 1], len(weights[1]))
    step = _steps(rng, opens)
    item = pick(rng, weights[1], first, last)[np.arange(n) - step]
    second = _seconds(rng, session, begins, window)
    order = np.argsort(second, kind="stable")
    return Actions(user[order], item[order], step[order], second[order])


def _steps(rng: np.random.Generator, opens: npt.NDArray[np.bool_]) -> Ints:
    """How many events back (0, 1, 2) the item was looked at, which is also the step: view, cart, purchase."""
    place = np.arange(len(opens))
    follows = (rng.random(len(opens)) < FOLLOW_UP) & ~opens
    step: Ints = (place - np.maximum.accumulate(np.where(follows, 0, place))) % 3
    return step


def _seconds(rng: np.random.Generator, session: Ints, begins: Ints, window: Ints) -> Ints:
    """Second of each event: a session begins anywhere that leaves it room, and pauses between its events."""
    pause = rng.exponential(PAUSE_SECONDS, len(session))
    pause[begins] = 0.0
    passed = np.cumsum(pause)
    since = passed - passed[begins][session]
    ends = np.append(begins[1:], len(session)) - 1
    room = np.maximum(window[1] - window[0] - 1 - since[ends], 0.0)
    begin = window[0] + rng.random(len(begins)) * room
    second: Ints = np.minimum(begin[session] + since, window[1] - 1).astype(np.int64)
    return second
