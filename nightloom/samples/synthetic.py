"""A few numbers and a seed -> a landing folder of any size with known structure and known dirt, and the truth about it.

events/DAY.jsonl.gz, items/DAY.jsonl.gz and users/DAY.jsonl.gz (those who are new that day), and .truth.json: `lines`
delivered, distinct good `events`, lines that must end in quarantine, lines of each kind of dirt; in all and by day.
The same arguments give the same bytes. Memory is that of the population and one chunk of events.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from nightloom.samples import SampleError
from nightloom.samples.dirt import Tally
from nightloom.samples.landing import Landing
from nightloom.samples.world import Spec, World

TRUTH = ".truth.json"


def make(spec: Spec, landing: Landing, advance: Callable[[int], None] = lambda events: None) -> Tally:
    """Write every day, then the truth, into the landing folder; `advance` is told how many events were made.

    Raises SampleError when the folder holds a synthetic sample made with other arguments.
    """
    arguments = {**asdict(spec), "start": f"{spec.start}"}
    _check_unmixed(arguments, landing.folder / TRUTH)
    world = World(spec, advance)
    days: dict[str, Tally] = {}
    for day, n in enumerate(world.events_by_day()):
        name, tally = f"{spec.day(day)}", Tally()
        _put_if_any(landing, f"items/{name}.jsonl.gz", world.new_items(day))
        _put_if_any(landing, f"users/{name}.jsonl.gz", world.new_users(day))
        _put_if_any(landing, f"events/{name}.jsonl.gz", world.events(day, n, tally))
        days[name] = tally
    total = sum(days.values(), Tally())
    by_day = {name: asdict(tally) for name, tally in days.items()}
    _write_truth({"arguments": arguments, **asdict(total), "days": by_day}, landing.folder / TRUTH)
    return total


def _put_if_any(landing: Landing, name: str, chunks: Iterator[memoryview]) -> None:
    """A web app to which nothing happened leaves no file."""
    if (first := next(chunks, None)) is not None:
        landing.put(name, chain([first], chunks))


def _check_unmixed(arguments: dict[str, Any], truth: Path) -> None:
    if not truth.exists():
        return
    there = json.loads(truth.read_text(encoding="utf8"))["arguments"]
    if there != arguments:
        raise SampleError(
            f"{truth.parent} holds a synthetic sample made with {_listed(there)}; asked for {_listed(arguments)}: "
            "remove that folder or give another one by --to"
        )


def _listed(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())


def _write_truth(truth: dict[str, Any], file: Path) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf8")
    unfinished.replace(file)
