"""Users and items with known structure, and the events of a day: the random model behind the synthetic sample.

Users and items belong to clusters, and most events of a user are on items of the user's cluster. Popularity and
activity follow power laws. The weight of some items grows. New users and items arrive every day. Events come in
sessions, in which a cart follows a view of the same item, and a purchase follows that cart.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LATE_ARRIVALS = 0.3  # share of users and items that arrive after the first day
RISING_SHARE = 0.1  # share of items whose weight grows
RISING_GROWTH = 8.0  # factor by which a rising item's weight grows from the first day to the last
OWN_CLUSTER_SHARE = 0.75  # share of events on items of the user's own cluster; the others follow popularity only
SESSION_EVENTS = 4.0  # mean events in a session
FOLLOW_UP = 0.15  # chance that an event takes the previous one's item a step on: view, cart, purchase
PAUSE_SECONDS = 40.0  # mean time between two events of a session


@dataclass(frozen=True)
class Population:
    """n users or items, ordered by cluster; every array has length n, except `starts` (clusters + 1)."""

    cluster: Ints
    starts: Ints  # index of each cluster's first member, and n
    arrival: Ints  # day, from 0
    weight: Floats  # relative probability of being drawn on the first day
    growth: Floats  # factor on the weight from the first day to the last

    def weights(self, progress: float, day: int) -> Floats:
        """n weights on `day`, 0 before arrival; `progress` goes from 0 (first day) to 1 (last day)."""
        return np.where(self.arrival <= day, self.weight * self.growth**progress, 0.0)

    def arrivals(self, day: int) -> Ints:
        """Indices of the members who arrive on `day`."""
        return np.flatnonzero(self.arrival == day)


def population(rng: np.random.Generator, n: int, clusters: int, days: int, skew: float, rising: float) -> Population:
    """n members in equal clusters. Each cluster has a member on the first day. The weight is rank ** -skew."""
    starts = np.arange(clusters + 1) * n // clusters
    late = rng.random(n) < LATE_ARRIVALS * (days > 1)
    arrival = np.where(late, rng.integers(1, max(days, 2), n), 0)
    arrival[starts[:-1]] = 0
    weight: Floats = np.power(rng.permutation(n) + 1.0, -skew)
    return Population(
        cluster=np.repeat(np.arange(clusters), np.diff(starts)),
        starts=starts,
        arrival=arrival,
        weight=weight,
        growth=np.where(rng.random(n) < rising, RISING_GROWTH, 1.0),
    )


def weighted_choice(rng: np.random.Generator, weights: Floats, first: Ints, last: Ints) -> Ints:
    """For each row, a random index in first..last-1, by weight; each range must hold a weight above 0."""
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    low, high = cumulative[first], cumulative[last]
    # A point rounded up to `high` would select the next range's first member.
    points = np.minimum(low + rng.random(len(first)) * (high - low), np.nextafter(high, low))
    index: Ints = np.searchsorted(cumulative, points, side="right") - 1
    return index


@dataclass(frozen=True)
class EventBatch:
    """n events in time order: user, item, step (0 view, 1 cart, 2 purchase) and second of the day."""

    user: Ints
    item: Ints
    step: Ints
    second: Ints


def simulate_events(
    rng: np.random.Generator, n: int, users: Population, items: Population, weights: tuple[Floats, Floats], window: Ints
) -> EventBatch:
    """n > 0 events in the seconds window[0]..window[1]-1; `weights` are the day's weights of users and of items."""
    starts_session = rng.random(n) < 1 / SESSION_EVENTS
    starts_session[0] = True
    session, session_starts = np.cumsum(starts_session) - 1, np.flatnonzero(starts_session)
    zeros = np.zeros(len(session_starts), np.int64)
    user = weighted_choice(rng, weights[0], zeros, zeros + len(weights[0]))[session]
    own, cluster = rng.random(n) < OWN_CLUSTER_SHARE, users.cluster[user]
    first = np.where(own, items.starts[cluster], 0)
    last = np.where(own, items.starts[cluster + 1], len(weights[1]))
    step = _steps(rng, starts_session)
    item = weighted_choice(rng, weights[1], first, last)[np.arange(n) - step]
    second = _seconds(rng, session, session_starts, window)
    order = np.argsort(second, kind="stable")
    return EventBatch(user[order], item[order], step[order], second[order])


def _steps(rng: np.random.Generator, starts_session: npt.NDArray[np.bool_]) -> Ints:
    """n: how many events back the item was viewed (0, 1, 2), which is also the step: view, cart, purchase."""
    place = np.arange(len(starts_session))
    follows = (rng.random(len(starts_session)) < FOLLOW_UP) & ~starts_session
    step: Ints = (place - np.maximum.accumulate(np.where(follows, 0, place))) % 3
    return step


def _seconds(rng: np.random.Generator, session: Ints, session_starts: Ints, window: Ints) -> Ints:
    """n: second of each event. A session starts at random where it fits the window; its pauses are exponential."""
    pause = rng.exponential(PAUSE_SECONDS, len(session))
    pause[session_starts] = 0.0
    elapsed = np.cumsum(pause)
    in_session = elapsed - elapsed[session_starts][session]
    ends = np.append(session_starts[1:], len(session)) - 1
    room = np.maximum(window[1] - window[0] - 1 - in_session[ends], 0.0)
    begin = window[0] + rng.random(len(session_starts)) * room
    second: Ints = np.minimum(begin[session] + in_session, window[1] - 1).astype(np.int64)
    return second
