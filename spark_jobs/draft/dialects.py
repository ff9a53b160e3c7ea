"""The first bytes of a file -> how it is written: format and encoding; of csv delimiter, quotes, header and fields.

A dialect is judged by the reader of bronze: the one under which most lines are records with equally many fields.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from charset_normalizer import from_bytes

from spark_jobs.draft.columns import is_number
from spark_jobs.draft.times import time_format_of
from spark_jobs.draft.vocabulary import WORDS, match_of
from spark_jobs.files import read_bytes
from spark_jobs.readers.dialect import Dialect
from spark_jobs.readers.python_lines import NoLiteralError, parse_literal
from spark_jobs.readers.record import Layout
from spark_jobs.readers.text import ORDER_MARKS

DELIMITERS = ("\t", ";", "::", ",", "|", "||", "^", "~", "\x01", " ")
"""What may stand between fields; of those that split lines equally well the first one is taken."""
QUOTES: tuple[tuple[str, str | None], ...] = (('"', None), ('"', "\\"), ("", None), ("'", None), ("'", "\\"))
"""Quote and escape; of those by which equally many lines are records the first one is taken."""
COMMENTS = ("#", "%", "//")
ENCODINGS = {
    "cp1252": "windows-1252", "cp1250": "windows-1250", "cp1251": "windows-1251", "koi8_r": "KOI8-R",
    "cp1253": "windows-1253", "cp1254": "windows-1254", "cp1255": "windows-1255", "cp1256": "windows-1256",
    "shift_jis": "Shift_JIS", "euc_jp": "EUC-JP", "gb18030": "GB18030", "big5": "Big5", "euc_kr": "EUC-KR",
}  # fmt: skip
"""Encodings that are tried where a text is not UTF-8: Python's name -> Spark's."""
MANY = 0.25  # share of bytes beyond ASCII from which on a text is not of a Latin alphabet
LINES = 2_000  # lines by which a dialect is judged


@dataclass(frozen=True)
class Writing:
    """How a file is written."""

    layout: Layout
    """Fields in their order, all of them texts."""
    is_utf8: bool = True
    header_is_sure: bool = True


def writing_of(head: bytes) -> Writing:
    """How a text file that begins with `head` is written. Fields of JSON and Python records are left empty."""
    encoding, is_utf8 = encoding_of(head)
    mark = next((name for first, name in ORDER_MARKS.items() if head.startswith(first)), None)
    text = head.decode(mark or encoding or "utf-8", "replace").lstrip("\ufeff")
    lines = [line for line in text.splitlines() if line.strip()][:LINES]
    format = _format_of(lines)
    if format != "csv":
        return Writing(Layout(format, {}, encoding=encoding), is_utf8)
    comment = next((sign for sign in COMMENTS if lines[0].startswith(sign)), None)
    lines = [line for line in lines if not (comment and line.startswith(comment))]
    layout = _dialect_of(lines, Layout("csv", {}, header=False, encoding=encoding, comment=comment))
    return _with_header(lines, layout, is_utf8)


def encoding_of(head: bytes) -> tuple[str | None, bool]:
    """(A source's `encoding`, None where it needs none; whether that is sure)."""
    if any(head.startswith(mark) for mark in ORDER_MARKS):
        return None, True
    if head[1:64:2].count(0) > 16 or head[:64:2].count(0) > 16:
        return ("UTF-16LE" if head[1:2] == b"\0" else "UTF-16BE"), True
    try:
        head[: head.rfind(b"\n") + 1 or None].decode()
    except UnicodeDecodeError:
        pass
    else:
        return None, True
    beyond = sum(byte > 127 for byte in head) / len(head)
    best = from_bytes(head[:100_000], cp_isolation=[*ENCODINGS]).best() if beyond > MANY else None
    return ENCODINGS[best.encoding if best else "cp1252"], False


def _format_of(lines: Sequence[str]) -> str:
    first = lines[0].strip() if lines else ""
    if first.startswith("{"):
        try:
            json.loads(first)
        except ValueError:
            try:
                return "python" if isinstance(parse_literal(first), dict) else "json"
            except NoLiteralError:
                return "json"
        return "json"
    return "json" if first.startswith("[") and not first.endswith("]]") else "csv"


def _dialect_of(lines: Sequence[str], layout: Layout) -> Layout:
    """The layout with delimiter, quote, escape, and fields without names."""
    widths = {sign: _widths(lines, replace(layout, delimiter=sign)) for sign in DELIMITERS}
    share = {sign: _share_of_most(found) for sign, found in widths.items()}
    best = max(DELIMITERS, key=share.__getitem__)
    if share[best] < 0.5 and _is_list_of_ids(lines):
        return replace(layout, delimiter=" ", fields={"user": "string", "items": "string"}, explode="items",
                       explode_delimiter=" ", takes_rest=True)  # fmt: skip
    width = Counter(widths[best]).most_common(1)[0][0] if share[best] >= 0.5 else 1
    best = best if width > 1 else ","  # a single column
    fields = {f"field_{number}": "string" for number in range(1, width + 1)}
    layout = replace(layout, delimiter=best, fields=fields)
    quoted = sum(line.startswith("'") and line.endswith("'") for line in lines) > len(lines) / 2
    order = sorted(QUOTES, key=lambda each: each[0] != "'") if quoted else QUOTES
    candidates = [replace(layout, quote=quote, escape=escape) for quote, escape in order]
    return max(candidates, key=lambda each: _readable(lines, each))


def _widths(lines: Sequence[str], layout: Layout) -> list[int]:
    """Fields of the lines that one line alone can show."""
    dialect = Dialect(layout)
    return [len(row) for line in lines if (row := dialect.parse(line)[0])]


def _share_of_most(widths: Sequence[int]) -> float:
    """The share of lines with the most frequent number of fields; 0 where that is one field."""
    width, times = Counter(widths).most_common(1)[0] if widths else (1, 0)
    return times / len(widths) if width > 1 else 0.0


def _is_list_of_ids(lines: Sequence[str]) -> bool:
    return sum(bool(re.fullmatch(r"\w*\d\w*( \w*\d\w*)*\s*", line)) for line in lines) > 0.9 * len(lines)


def _readable(lines: Sequence[str], layout: Layout) -> int:
    """How many lines are records, or parts of one."""
    content = "\n".join([*lines, ""]).encode(layout.encoding or "utf-8", "replace")
    return sum(held or 0 for _, held, problem in read_bytes(content, layout) if problem is None)


def _with_header(lines: Sequence[str], layout: Layout, is_utf8: bool) -> Writing:
    """The writing with its columns' names, where the first line has them."""
    if layout.takes_rest:
        return Writing(layout, is_utf8)
    dialect = Dialect(layout)
    rows = [row for line in lines[:200] if (row := dialect.parse(line)[0]) and len(row) == len(layout.fields)]
    first, rest = (rows[0], rows[1:]) if rows else ([], [])
    names = [name.strip() for name in first]
    evidence = _header_evidence(names, rest)
    if evidence > 0:
        return Writing(replace(layout, header=True, fields=dict.fromkeys(names, "string")), is_utf8, evidence > 1)
    return Writing(layout, is_utf8, evidence < 0)


def _header_evidence(names: Sequence[str], rows: Sequence[Sequence[str]]) -> float:
    """More than 0 where the first line is a header, 2 or more where that is sure; less than 0 where it is none."""
    filled = [name for name in names if name]
    if not filled or len({*filled}) < len(filled) or any(is_number(name) or time_format_of([name]) for name in filled):
        return -2
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    typed = sum(_is_typed([text for text in column if text]) for column in columns)
    known = sum(max(match_of(name, role) for role in WORDS) == 1 for name in filled)
    again = sum(name in column for name, column in zip(names, columns, strict=True) if name)
    return 2 * typed + known - 3 * again


def _is_typed(texts: Sequence[str]) -> bool:
    """Whether a column holds numbers or times."""
    return bool(texts) and (sum(map(is_number, texts)) >= 0.5 * len(texts) or time_format_of(texts) is not None)
