"""SampleSpec -> the lines of each day, in order: events, new items, new users; in chunks of 200,000 rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightloom.samples import dirt
from nightloom.samples.landing import as_bytes, decimal_text, json_lines, json_string
from nightloom.samples.population import RISING_SHARE, EventBatch, Ints, population, simulate_events

CHUNK = 200_000  # rows per chunk: about 30 MB of lines
DAY_SECONDS = 86_400
CLUSTERS = 8
POPULARITY_SKEW, ACTIVITY_SKEW = 0.9, 0.5  # exponents of the power laws
WEEKEND = 1.3  # events of a Saturday or Sunday, relative to a weekday
STEPS = pa.array(["view", "cart", "purchase"])
GENDERS = pa.array(["F", "M"])
OCCUPATIONS = pa.array(["artist", "clerk", "driver", "engineer", "nurse", "student", "teacher", "writer"])
# Each purpose has its own random stream: one more draw for one does not change the others.
_USERS, _ITEMS, _EVENTS, _NEW_USERS, _NEW_ITEMS = range(5)


@dataclass(frozen=True)
class SampleSpec:
    """Size and seed of a sample. `events` counts distinct events, good and bad; `dirt` is the share of dirty ones."""

    users: int
    items: int
    days: int
    seed: int
    events: int
    start: date
    dirt: float

    @property
    def clusters(self) -> int:
        """Number of clusters: CLUSTERS, or fewer for a very small sample."""
        return min(CLUSTERS, self.users, self.items)

    def day(self, number: int) -> date:
        """Date of a day, counted from 0."""
        return self.start + timedelta(days=number)

    def rng(self, *purpose: int) -> np.random.Generator:
        """The random generator of one purpose, e.g. one chunk of events of one day."""
        return np.random.default_rng([self.seed, *purpose])


class Simulation:
    """The sample's days, from the first to the last; `advance` gets the number of events of each chunk."""

    def __init__(self, spec: SampleSpec, advance: Callable[[int], None]) -> None:
        self.spec, self.advance = spec, advance
        self.users = population(spec.rng(_USERS), spec.users, spec.clusters, spec.days, ACTIVITY_SKEW, rising=0.0)
        self.items = population(spec.rng(_ITEMS), spec.items, spec.clusters, spec.days, POPULARITY_SKEW, RISING_SHARE)
        self.redeliveries: list[pa.StringArray] = []  # lines of the day before that are delivered again

    def events_by_day(self) -> list[int]:
        """Number of new events of each day, in proportion to the users' activity; the sum is spec.events."""
        spec = self.spec
        activity = np.bincount(self.users.arrival, self.users.weight, minlength=spec.days).cumsum()
        weekend = np.array([spec.day(number).weekday() >= 5 for number in range(spec.days)])
        ends = np.cumsum(activity * np.where(weekend, WEEKEND, 1.0))
        return [int(n) for n in np.diff(np.rint(spec.events * ends / ends[-1]), prepend=0)]

    def events(self, day: int, n: int, counts: dirt.DirtCounts) -> Iterator[memoryview]:
        """Lines of the day: first redeliveries from the day before, then n new events in time order."""
        for lines in self.redeliveries:
            counts.add_redelivered(dirt.NEXT_DAY, len(lines))
            yield as_bytes(lines)
        self.redeliveries = []
        progress = day / max(self.spec.days - 1, 1)
        weights = self.users.weights(progress, day), self.items.weights(progress, day)
        chunks = max(-(-n // CHUNK), 1)
        first, second = (np.arange(chunks + 1) * total // chunks for total in (n, DAY_SECONDS))
        for number in range(chunks if n else 0):
            rng = self.spec.rng(_EVENTS, day, number)
            size = int(first[number + 1] - first[number])
            batch = simulate_events(rng, size, self.users, self.items, weights, second[number : number + 2])
            kinds = dirt.draw_kinds(rng, size, self.spec.dirt, last_day=day == self.spec.days - 1)
            yield from self._deliver(_event_lines(batch, self.spec.day(day), int(first[number])), kinds, counts)
            self.advance(size)

    def _deliver(self, clean: pa.StringArray, kinds: dirt.Kinds, counts: dirt.DirtCounts) -> Iterator[memoryview]:
        twice = dirt.select_kind(clean, kinds, dirt.SAME_DAY)
        counts.add(kinds)
        counts.add_redelivered(dirt.SAME_DAY, len(twice))
        self.redeliveries.append(dirt.select_kind(clean, kinds, dirt.NEXT_DAY))
        yield as_bytes(dirt.add_dirt(clean, kinds))
        yield as_bytes(twice)

    def new_items(self, day: int) -> Iterator[memoryview]:
        """Lines of the items that arrive on the day."""
        for number, new in enumerate(_chunks(self.items.arrivals(day))):
            rng = self.spec.rng(_NEW_ITEMS, day, number)
            cluster = decimal_text(self.items.cluster[new])
            fields = {
                "item_id": json_string("i", decimal_text(new)),
                "title": json_string("Item ", decimal_text(new)),
                "year": decimal_text(rng.integers(1950, self.spec.start.year + 1, len(new))),
                "genres": pc.binary_join_element_wise("[", json_string("genre-", cluster), "]", ""),
                "cluster": cluster,
                "rising": decimal_text(self.items.growth[new] > 1),
            }
            yield as_bytes(json_lines(fields))

    def new_users(self, day: int) -> Iterator[memoryview]:
        """Lines of the users who arrive on the day."""
        for number, new in enumerate(_chunks(self.users.arrivals(day))):
            rng = self.spec.rng(_NEW_USERS, day, number)
            fields = {
                "user_id": json_string("u", decimal_text(new)),
                "age": decimal_text(rng.integers(16, 80, len(new))),
                "gender": json_string(_random_words(GENDERS, rng, len(new))),
                "occupation": json_string(_random_words(OCCUPATIONS, rng, len(new))),
                "zip": json_string(decimal_text(rng.integers(10_000, 100_000, len(new)))),
                "cluster": decimal_text(self.users.cluster[new]),
            }
            yield as_bytes(json_lines(fields))


def _event_lines(batch: EventBatch, day: date, first: int) -> pa.StringArray:
    """One line per event; event ids count within the day, from `first`."""
    clock = pc.cast(pa.array(batch.second.astype(np.int32), pa.time32("s")), pa.string())
    fields = {
        "event_id": json_string(f"e{day}-", decimal_text(np.arange(first, first + len(batch.second)))),
        "user_id": json_string("u", decimal_text(batch.user)),
        "item_id": json_string("i", decimal_text(batch.item)),
        "event": json_string(STEPS.take(pa.array(batch.step))),
        "value": "null",
        "at": json_string(f"{day}T", clock, "Z"),
    }
    return json_lines(fields)


def _random_words(words: pa.StringArray, rng: np.random.Generator, n: int) -> pa.StringArray:
    return words.take(pa.array(rng.integers(0, len(words), n)))


def _chunks(indices: Ints) -> Iterator[Ints]:
    for first in range(0, len(indices), CHUNK):
        yield indices[first : first + CHUNK]
