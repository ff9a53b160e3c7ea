"""The records of a landing file, as a test looks at them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spark_jobs.files import read_records
from spark_jobs.readers.record import Found, Layout, Record

TEXTS = {"id": "string", "text": "string"}
Read = Callable[..., list[Record]]


def records(file: Path, format: str, fields: dict[str, str] = TEXTS, **layout: Any) -> list[Record]:
    """The records of a file, after a check that they hold each of its lines once."""
    found = Found()
    read = list(read_records(file, Layout(format, fields, **layout), found))
    assert sum(lines or 0 for _, lines, _ in read) == found.lines
    return read


def good(read: list[Record]) -> list[Any]:
    return [json.loads(text) for text, _, problem in read if problem is None]


def bad(read: list[Record]) -> list[str]:
    return [text for text, _, problem in read if problem is not None]


def problems(read: list[Record]) -> list[str]:
    return [problem for _, _, problem in read if problem is not None]
