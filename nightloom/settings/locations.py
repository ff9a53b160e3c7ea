"""The line of a key in nightloom.toml, for error messages."""

import re
from pathlib import Path

from nightloom.settings.settings import Settings
from nightloom.settings.toml_file import read_text


def place_of(settings: Settings, *location: str | int) -> str:
    """`nightloom.toml, line N: slate.caps.0.by`: where a person finds a key."""
    return place_in(settings.file, *location)


def place_in(file: Path, *location: str | int) -> str:
    """The same, where the settings could not be read."""
    return f"{file.name}, line {find_line(location, read_text(file)) or 1}: {'.'.join(map(str, location))}"


def line_of(settings: Settings, *location: str | int) -> int:
    """Line of a key in nightloom.toml, e.g. of ("marts", 0, "sql")."""
    return find_line(location, read_text(settings.file)) or 1


def find_line(location: tuple[str | int, ...], text: str) -> int | None:
    """Line of a key: in the N-th table of its array the first line that sets it, or its header."""
    lines, start, path = text.split("\n"), 0, ""
    for part in location:
        if isinstance(part, int):
            tables = [n for n, row in enumerate(lines) if n >= start and re.match(rf"\s*\[\[{path}\]\]", row)]
            start = tables[part] if part < len(tables) else start
            continue
        path += f"{re.escape('.') if path else ''}{re.escape(part)}"
        end = next((n for n in range(start + 1, len(lines)) if re.match(r"\s*\[", lines[n])), len(lines))
        keys = [n for n in range(start, end) if re.match(rf"\s*\"?{re.escape(part)}\"?\s*[=.]", lines[n])]
        headers = [n for n in range(start, len(lines)) if re.match(rf"\s*\[+{path}[\].]", lines[n])]
        start = next(iter(keys or headers), start)
    return start + 1 if start or (lines and location) else None
