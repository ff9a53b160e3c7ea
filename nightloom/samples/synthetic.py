"""A SampleSpec -> a landing folder with known structure and known dirt, and .truth.json with the expected counts.

Files: events/DAY.jsonl.gz, and items/DAY.jsonl.gz and users/DAY.jsonl.gz with the day's new ones. .truth.json holds, in
total and by day: delivered `lines`, distinct good `events`, lines that must end in quarantine, lines of each kind of
dirt. The same arguments give the same bytes. Memory is that of the population and one chunk of events.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from nightloom.samples import SampleError
from nightloom.samples.dirt import DirtCounts
from nightloom.samples.landing import Landing
from nightloom.samples.simulation import SampleSpec, Simulation

TRUTH = ".truth.json"


def write(spec: SampleSpec, landing: Landing, advance: Callable[[int], None] = lambda events: None) -> DirtCounts:
    """Write every day, then .truth.json, into the landing folder; `advance` gets the number of events of each chunk.

    Raises SampleError if the folder holds a synthetic sample of other arguments.
    """
    arguments = {**asdict(spec), "start": f"{spec.start}"}
    _check_same_arguments(arguments, landing.folder / TRUTH)
    simulation = Simulation(spec, advance)
    days: dict[str, DirtCounts] = {}
    for day, n in enumerate(simulation.events_by_day()):
        name, counts = f"{spec.day(day)}", DirtCounts()
        _write_unless_empty(landing, f"items/{name}.jsonl.gz", simulation.new_items(day))
        _write_unless_empty(landing, f"users/{name}.jsonl.gz", simulation.new_users(day))
        _write_unless_empty(landing, f"events/{name}.jsonl.gz", simulation.events(day, n, counts))
        days[name] = counts
    total = sum(days.values(), DirtCounts())
    by_day = {name: asdict(counts) for name, counts in days.items()}
    _write_truth({"arguments": arguments, **asdict(total), "days": by_day}, landing.folder / TRUTH)
    return total


def _write_unless_empty(landing: Landing, name: str, chunks: Iterator[memoryview]) -> None:
    """A day without lines has no file."""
    if (first := next(chunks, None)) is not None:
        landing.write(name, chain([first], chunks))


def _check_same_arguments(arguments: dict[str, Any], truth: Path) -> None:
    if not truth.exists():
        return
    existing = json.loads(truth.read_text(encoding="utf8"))["arguments"]
    if existing != arguments:
        raise SampleError(
            f"{truth.parent} holds a synthetic sample made with {_to_text(existing)}; asked for {_to_text(arguments)}: "
            "remove that folder or give another one by --to"
        )


def _to_text(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())


def _write_truth(truth: dict[str, Any], file: Path) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf8")
    unfinished.replace(file)
