"""Good event lines -> what real senders make of them: a fixed vocabulary of dirt, and where each kind must end.

KINDS is the vocabulary. The kinds in QUARANTINED must end in quarantine; an undeclared column is a good event with one
field too many; the two kinds of DELIVERED_AGAIN are good events whose line comes a second time and counts once.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def _cut_short(line: str) -> str:
    """The first half of the line, as a connection that broke leaves it: never valid JSON."""
    return line[: len(line) // 2] + "\n"


def _changed(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields) + "\n"


def _without(line: str, field: str) -> str:
    return json.dumps({name: value for name, value in json.loads(line).items() if name != field}) + "\n"


_SPOIL: dict[str, Callable[[str], str]] = {
    "garbage": _cut_short,
    "missing_user": partial(_changed, user_id=None),
    "missing_item": partial(_without, field="item_id"),
    "unparsable_time": partial(_changed, at="last night"),
    "far_future": partial(_changed, at="2098-01-01T00:00:00Z"),
    "impossible_value": partial(_changed, value=-1_000_000.0),
    "unknown_event": partial(_changed, event="teleport"),
    "undeclared_column": partial(_changed, trace="a-field-nobody-declared"),
}
SAME_DAY, NEXT_DAY = "delivered_twice", "delivered_again_next_day"
DELIVERED_AGAIN = (SAME_DAY, NEXT_DAY)
KINDS = (*_SPOIL, *DELIVERED_AGAIN)
QUARANTINED = tuple(kind for kind in _SPOIL if kind != "undeclared_column")
CLEAN = -1

Kinds = npt.NDArray[np.int8]


def draw(rng: np.random.Generator, n: int, rate: float, last_day: bool) -> Kinds:
    """A kind for each of n events, as an index into KINDS or CLEAN; `rate` is the share that gets one."""
    kinds = np.where(rng.random(n) < rate, rng.integers(0, len(KINDS), n), CLEAN).astype(np.int8)
    if last_day:  # no day is left on which to come again
        kinds[kinds == KINDS.index(NEXT_DAY)] = KINDS.index(SAME_DAY)
    return kinds


def spoil(lines: pa.StringArray, kinds: Kinds) -> pa.StringArray:
    """The lines (n), those whose kind says so spoilt. Dirt is rare, so these few go one by one."""
    spoilt = (kinds != CLEAN) & (kinds < len(_SPOIL))
    change = [_SPOIL[KINDS[kind]] for kind in kinds[spoilt]]
    dirty = [spoil(line) for spoil, line in zip(change, lines.filter(pa.array(spoilt)).to_pylist(), strict=True)]
    return pc.replace_with_mask(lines, pa.array(spoilt), pa.array(dirty, pa.string()))


def of_kind(lines: pa.StringArray, kinds: Kinds, kind: str) -> pa.StringArray:
    """Those of the lines that are of one kind."""
    return lines.filter(pa.array(kinds == KINDS.index(kind)))


@dataclass
class Tally:
    """What was delivered: lines, distinct good events, lines that must end in quarantine, lines by kind of dirt."""

    lines: int = 0
    events: int = 0
    quarantined: int = 0
    dirt: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, kinds: Kinds) -> None:
        """Count distinct events by their kinds; a line's second delivery is counted when it comes."""
        counts = np.bincount(kinds[kinds != CLEAN], minlength=len(KINDS))
        for kind in _SPOIL:
            self.dirt[kind] += int(counts[KINDS.index(kind)])
        bad = sum(int(counts[KINDS.index(kind)]) for kind in QUARANTINED)
        self.lines += len(kinds)
        self.events += len(kinds) - bad
        self.quarantined += bad

    def add_again(self, kind: str, lines: int) -> None:
        """Count second deliveries of good lines."""
        self.lines += lines
        self.dirt[kind] += lines

    def __add__(self, other: "Tally") -> "Tally":
        dirt = {kind: self.dirt[kind] + other.dirt[kind] for kind in KINDS}
        return Tally(self.lines + other.lines, self.events + other.events, self.quarantined + other.quarantined, dirt)
