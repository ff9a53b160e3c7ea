"""Spec -> the lines of each day, read in order: events, new items, new users. Rows are made some 200,000 at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightloom.samples import dirt
from nightloom.samples.landing import as_bytes, digits, json_lines, text
from nightloom.samples.population import RISING, Actions, Ints, actions, population

CHUNK = 200_000  # rows made at once: some 30 MB of lines
DAY_SECONDS = 86_400
CLUSTERS = 8
POPULARITY_SKEW, ACTIVITY_SKEW = 0.9, 0.5  # exponents of the power laws
WEEKEND = 1.3  # a Saturday or Sunday has this many times the events of a weekday
STEPS = pa.array(["view", "cart", "purchase"])
GENDERS = pa.array(["F", "M"])
OCCUPATIONS = pa.array(["artist", "clerk", "driver", "engineer", "nurse", "student", "teacher", "writer"])
# Each purpose has random numbers of its own, so that one more draw for one leaves the others as they were.
_USERS, _ITEMS, _EVENTS, _NEW_USERS, _NEW_ITEMS = range(5)


@dataclass(frozen=True)
class Spec:
    """What to make. `events` counts distinct events, good and bad; `dirt` is the share of them with some dirt."""

    users: int
    items: int
    days: int
    seed: int
    events: int
    start: date
    dirt: float

    @property
    def clusters(self) -> int:
        return min(CLUSTERS, self.users, self.items)

    def day(self, number: int) -> date:
        return self.start + timedelta(days=number)

    def rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])


class World:
    """All that happens from the first day to the last; `advance` is told how many events were made."""

    def __init__(self, spec: Spec, advance: Callable[[int], None]) -> None:
        self.spec, self.advance = spec, advance
        self.users = population(spec.rng(_USERS), spec.users, spec.clusters, spec.days, ACTIVITY_SKEW, rising=0.0)
        self.items = population(spec.rng(_ITEMS), spec.items, spec.clusters, spec.days, POPULARITY_SKEW, RISING)
        self.again: list[pa.StringArray] = []  # lines of the day before that come again

    def events_by_day(self) -> list[int]:
        """New events of each day, in proportion to the activity of those who are there; they sum to spec.events."""
        spec = self.spec
        activity = np.bincount(self.users.arrival, self.users.weight, minlength=spec.days).cumsum()
        weekend = np.array([spec.day(number).weekday() >= 5 for number in range(spec.days)])
        ends = np.cumsum(activity * np.where(weekend, WEEKEND, 1.0))
        return [int(n) for n in np.diff(np.rint(spec.events * ends / ends[-1]), prepend=0)]

    def events(self, day: int, n: int, tally: dirt.Tally) -> Iterator[memoryview]:
        """Lines of the day: first what comes again from the day before, then n new events in time order."""
        for lines in self.again:
            tally.add_again(dirt.NEXT_DAY, len(lines))
            yield as_bytes(lines)
        self.again = []
        part = day / max(self.spec.days - 1, 1)
        weights = self.users.weights(part, day), self.items.weights(part, day)
        chunks = max(-(-n // CHUNK), 1)
        first, second = (np.arange(chunks + 1) * total // chunks for total in (n, DAY_SECONDS))
        for number in range(chunks if n else 0):
            rng = self.spec.rng(_EVENTS, day, number)
            size = int(first[number + 1] - first[number])
            done = actions(rng, size, self.users, self.items, weights, second[number : number + 2])
            kinds = dirt.draw(rng, size, self.spec.dirt, last_day=day == self.spec.days - 1)
            yield from self._delivered(_event_lines(done, self.spec.day(day), int(first[number])), kinds, tally)
            self.advance(size)

    def _delivered(self, clean: pa.StringArray, kinds: dirt.Kinds, tally: dirt.Tally) -> Iterator[memoryview]:
        twice = dirt.of_kind(clean, kinds, dirt.SAME_DAY)
        tally.add(kinds)
        tally.add_again(dirt.SAME_DAY, len(twice))
        self.again.append(dirt.of_kind(clean, kinds, dirt.NEXT_DAY))
        yield as_bytes(dirt.spoil(clean, kinds))
        yield as_bytes(twice)

    def new_items(self, day: int) -> Iterator[memoryview]:
        """Lines of the items that are new on the day; nothing when there are none."""
        for number, new in enumerate(_chunks(self.items.arriving(day))):
            rng = self.spec.rng(_NEW_ITEMS, day, number)
            cluster = digits(self.items.cluster[new])
            fields = {
                "item_id": text("i", digits(new)),
                "title": text("Item ", digits(new)),
                "year": digits(rng.integers(1950, self.spec.start.year + 1, len(new))),
                "genres": pc.binary_join_element_wise("[", text("genre-", cluster), "]", ""),
                "cluster": cluster,
                "rising": digits(self.items.growth[new] > 1),
            }
            yield as_bytes(json_lines(fields))

    def new_users(self, day: int) -> Iterator[memoryview]:
        """Lines of the users that are new on the day; nothing when there are none."""
        for number, new in enumerate(_chunks(self.users.arriving(day))):
            rng = self.spec.rng(_NEW_USERS, day, number)
            fields = {
                "user_id": text("u", digits(new)),
                "age": digits(rng.integers(16, 80, len(new))),
                "gender": text(_any_of(GENDERS, rng, len(new))),
                "occupation": text(_any_of(OCCUPATIONS, rng, len(new))),
                "zip": text(digits(rng.integers(10_000, 100_000, len(new)))),
                "cluster": digits(self.users.cluster[new]),
            }
            yield as_bytes(json_lines(fields))


def _event_lines(done: Actions, day: date, first: int) -> pa.StringArray:
    """One line an event, numbered within the day from `first` on."""
    clock = pc.cast(pa.array(done.second.astype(np.int32), pa.time32("s")), pa.string())
    fields = {
        "event_id": text(f"e{day}-", digits(np.arange(first, first + len(done.second)))),
        "user_id": text("u", digits(done.user)),
        "item_id": text("i", digits(done.item)),
        "event": text(STEPS.take(pa.array(done.step))),
        "value": "null",
        "at": text(f"{day}T", clock, "Z"),
    }
    return json_lines(fields)


def _any_of(words: pa.StringArray, rng: np.random.Generator, n: int) -> pa.StringArray:
    return words.take(pa.array(rng.integers(0, len(words), n)))


def _chunks(indices: Ints) -> Iterator[Ints]:
    for first in range(0, len(indices), CHUNK):
        yield indices[first : first + CHUNK]
