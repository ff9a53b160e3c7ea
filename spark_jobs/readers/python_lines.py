"""A file of Python dicts, one a line as `print` writes them -> JSON records. Nothing in them is ever executed.

A line is a dict of texts, numbers, True, False, None, lists, tuples, sets and dicts; `nan` counts as None. A line with
anything else (calls, names, sums) is no record. Its length is bounded, as Python's parser needs much memory.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from spark_jobs.readers.record import Record
from spark_jobs.readers.text import CUT, MARK, MARKING, TextLines

MAX_LITERAL = 1 << 20  # characters
TEXT = r"""[uUbBrR]{0,2}(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
NUMBER = r"[+-]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
LITERAL = re.compile(rf"(?:\s|[\[\](){{}},:]|{TEXT}|{NUMBER}|\b(?:True|False|None|nan)\b)*+", re.DOTALL)
NAN = re.compile(rf"({TEXT})|\bnan\b", re.DOTALL)
NO_DICT = "it is no Python dict"


class NoLiteralError(ValueError):
    """A text that is no Python literal, or a too long one; the message says why."""


def parse_literal(text: str) -> Any:
    """The value of a Python literal. Raises NoLiteralError."""
    if len(text) > MAX_LITERAL:
        raise NoLiteralError(f"it has {len(text):,} characters, expected at most {MAX_LITERAL:,}")
    end = LITERAL.match(text)
    if end is None or end.end() < len(text):
        near = text[end.end() if end else 0 :][:20]
        raise NoLiteralError(f"it has '{near}', which is no part of a Python literal")
    try:
        with warnings.catch_warnings(action="ignore"):  # of an escape that Python does not know
            return ast.literal_eval(NAN.sub(lambda found: found[1] or "None", text).strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise NoLiteralError(f"it is no Python literal: {getattr(error, 'msg', None) or error}") from None


def read_python(text: TextLines) -> Iterator[Record]:
    """The records of a file of Python dicts."""
    for line in text:
        if not line.isspace():
            yield _read_line(text, line.lstrip("\ufeff").strip(), text.cuts(line))


def _read_line(text: TextLines, line: str, cut: bool) -> Record:
    if cut:
        return line, 1, CUT
    try:
        value = parse_literal(line)
        if not isinstance(value, dict):
            return line, 1, NO_DICT
        record = json.dumps(json_ready(value), ensure_ascii=False, allow_nan=False)
    except ValueError as error:  # NoLiteralError, or a number that JSON has not
        return line, 1, f"{NO_DICT}: {error}"
    record = _join_surrogates(record)
    text.found.undecoded += MARK in record and MARK not in line
    return record, 1, None


def _join_surrogates(text: str) -> str:
    """The text with each pair of half characters as one; a half alone is marked, as no text can hold it."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", MARKING)


def json_ready(value: Any) -> Any:
    """The value with what JSON can hold: texts as keys, texts for bytes, lists for tuples and sets."""
    if isinstance(value, dict):
        return {_key(key): json_ready(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(each) for each in value]
    if isinstance(value, set):
        return json_ready(sorted(value, key=repr))
    return _text(value) if isinstance(value, bytes) else value


def _key(key: Any) -> str:
    return _text(key) if isinstance(key, bytes) else str(key)


def _text(value: bytes) -> str:
    return value.decode("utf-8", MARKING)
