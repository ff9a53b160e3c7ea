"""A JSON file's lines -> its objects: one a line, several in a line, one over several lines, or all in one array.

A line that is an object by itself is never part of another record. An object may span lines where none of the further
lines is one by itself; a line that is indented deeper is a part of the object around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from spark_jobs.readers.record import Record
from spark_jobs.readers.text import CUT, MARK, TextLines

JOINED_OBJECTS = re.compile(r"\}\s*\{")
HIGH, LOW = r"\\u[dD][89abAB][\da-fA-F]{2}", r"\\u[dD][c-fC-F][\da-fA-F]{2}"
SURROGATES = re.compile(rf"\\\\|{HIGH}{LOW}|\\u([dD][89a-fA-F][\da-fA-F]{{2}})")
"""A backslash, a character of two halves, or (group 1) a half alone."""
MAX_OBJECT = 16 << 20  # characters; a longer object over several lines counts as open
BLANKS = " \t\r\n"
NO_OBJECT = "it is no JSON object"
DECODER = json.JSONDecoder()


def read_json(text: TextLines) -> Iterator[Record]:
    """The records of a JSON file."""
    separators = BLANKS
    for line in text:
        if "\\u" in line:
            line = _mark_surrogates(line, text)
        content = line.strip()
        if content.startswith("{") and content.endswith("}") and not JOINED_OBJECTS.search(content):
            yield content, 1, None
        elif content:
            if text.found.lines == 1 and content.lstrip("\ufeff").startswith("["):
                separators = f"{BLANKS},[]"
            yield from _read_line(text, line, separators)


def _read_line(text: TextLines, line: str, separators: str) -> Iterator[Record]:
    """The records that begin in a line: the first one holds the line."""
    found, rest = _split(line.lstrip("\ufeff"), separators)
    held = 1
    while True:
        for each in found:
            yield each, held, None
            held = 0
        if not rest.startswith("{") or text.cuts(line):
            break
        found, rest, further = _read_further(text, line, rest, separators)
        held += sum(not each.isspace() for each in further)
        if not found:
            break
        line = further[-1]
    if rest:
        yield rest.rstrip(), held, CUT if text.cuts(line) else NO_OBJECT
    else:
        text.found.lines -= held  # the brackets of an array, on lines of their own


def _mark_surrogates(line: str, text: TextLines) -> str:
    """Mark escapes of half a character, which no text can hold; Spark would make one question mark of all of them."""
    marked = SURROGATES.sub(lambda found: f"{MARK}{found[1].upper()}" if found[1] else found[0], line)
    text.found.undecoded += marked != line
    return marked


def _split(content: str, separators: str) -> tuple[list[str], str]:
    """The objects of a text, and what is left of it where no object follows."""
    found: list[str] = []
    place = 0
    while True:
        while place < len(content) and content[place] in separators:
            place += 1
        end = _end_of_object(content, place)
        if not end:
            return found, content[place:]
        found.append(content[place:end])
        place = end


def _end_of_object(content: str, place: int) -> int:
    """Where the object that begins at a place ends; 0 where there is none."""
    if not content.startswith("{", place):
        return 0
    try:
        return DECODER.raw_decode(content, place)[1]
    except (ValueError, RecursionError):
        return 0


def _read_further(text: TextLines, first: str, opened: str, separators: str) -> tuple[list[str], str, list[str]]:
    """An object that the end of a line opens: (the objects up to where it ends, the rest there, the further lines).

    ([], what was opened, []) where a line that is not indented deeper begins another object, or ends none.
    """
    taken: list[str] = []
    parts, size, depth = [opened], len(opened), _indentation(first)
    unclosed = _unclosed(opened)
    for line in text:
        taken.append(line)
        parts.append(_mark_surrogates(line, text))
        if text.is_piece(first):
            return *_split("".join(parts), separators), taken
        size += len(line)
        begins = line.lstrip(separators)[:1] if _indentation(line) <= depth else ""
        unclosed += _unclosed(line)
        if begins == "}" or (unclosed <= 0 and line.rstrip(" \t\r\n,]").endswith("}")):
            found, rest = _split("".join(parts), separators)
            if found:
                return found, rest, taken
        if begins in ("{", "}") or size > MAX_OBJECT or text.cuts(line):
            break
    text.push_back(taken)
    return [], opened, []


def _unclosed(line: str) -> int:
    """Braces that a line opens and does not close, roughly: a text may hold some, too."""
    return line.count("{") - line.count("}")


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
