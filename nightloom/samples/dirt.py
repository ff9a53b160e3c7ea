"""Clean event lines -> dirty ones, as real senders produce them: a fixed list of kinds, each with a known destination.

KINDS is the list. Lines of a kind in QUARANTINED must end in quarantine. An undeclared column is a good event with an
extra field. The two kinds of REDELIVERED are good events whose line is delivered twice and counts once.
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


def _truncate(line: str) -> str:
    """The first half of the line, as a broken connection leaves it: never valid JSON."""
    return line[: len(line) // 2] + "\n"


def _with_fields(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields) + "\n"


def _without_field(line: str, field: str) -> str:
    return json.dumps({name: value for name, value in json.loads(line).items() if name != field}) + "\n"


_CHANGES: dict[str, Callable[[str], str]] = {
    "garbage": _truncate,
    "missing_user": partial(_with_fields, user_id=None),
    "missing_item": partial(_without_field, field="item_id"),
    "unparsable_time": partial(_with_fields, at="last night"),
    "far_future": partial(_with_fields, at="2098-01-01T00:00:00Z"),
    "impossible_value": partial(_with_fields, value=-1_000_000.0),
    "unknown_event": partial(_with_fields, event="teleport"),
    "undeclared_column": partial(_with_fields, trace="a-field-nobody-declared"),
}
SAME_DAY, NEXT_DAY = "delivered_twice", "delivered_again_next_day"
REDELIVERED = (SAME_DAY, NEXT_DAY)
KINDS = (*_CHANGES, *REDELIVERED)
QUARANTINED = tuple(kind for kind in _CHANGES if kind != "undeclared_column")
CLEAN = -1

Kinds = npt.NDArray[np.int8]


def draw_kinds(rng: np.random.Generator, n: int, rate: float, last_day: bool) -> Kinds:
    """n: a kind for each event, as an index into KINDS, or CLEAN; `rate` is the share of dirty events."""
    kinds = np.where(rng.random(n) < rate, rng.integers(0, len(KINDS), n), CLEAN).astype(np.int8)
    if last_day:  # there is no next day
        kinds[kinds == KINDS.index(NEXT_DAY)] = KINDS.index(SAME_DAY)
    return kinds


def add_dirt(lines: pa.StringArray, kinds: Kinds) -> pa.StringArray:
    """The n lines, with dirt of each line's kind. Dirt is rare, so Python changes the few dirty lines one by one."""
    is_dirty = (kinds != CLEAN) & (kinds < len(_CHANGES))
    changes = [_CHANGES[KINDS[kind]] for kind in kinds[is_dirty]]
    dirty = [change(line) for change, line in zip(changes, lines.filter(pa.array(is_dirty)).to_pylist(), strict=True)]
    return pc.replace_with_mask(lines, pa.array(is_dirty), pa.array(dirty, pa.string()))


def select_kind(lines: pa.StringArray, kinds: Kinds, kind: str) -> pa.StringArray:
    """The lines of one kind."""
    return lines.filter(pa.array(kinds == KINDS.index(kind)))


@dataclass
class DirtCounts:
    """Delivered lines, distinct good events, lines that must end in quarantine, and lines by kind of dirt."""

    lines: int = 0
    events: int = 0
    quarantined: int = 0
    dirt: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, kinds: Kinds) -> None:
        """Count distinct events by their kinds, without second deliveries."""
        kind_counts = np.bincount(kinds[kinds != CLEAN], minlength=len(KINDS))
        for kind in _CHANGES:
            self.dirt[kind] += int(kind_counts[KINDS.index(kind)])
        bad = sum(int(kind_counts[KINDS.index(kind)]) for kind in QUARANTINED)
        self.lines += len(kinds)
        self.events += len(kinds) - bad
        self.quarantined += bad

    def add_redelivered(self, kind: str, lines: int) -> None:
        """Count second deliveries of good lines."""
        self.lines += lines
        self.dirt[kind] += lines

    def __add__(self, other: "DirtCounts") -> "DirtCounts":
        dirt = {kind: self.dirt[kind] + other.dirt[kind] for kind in KINDS}
        return DirtCounts(
            self.lines + other.lines, self.events + other.events, self.quarantined + other.quarantined, dirt
        )
