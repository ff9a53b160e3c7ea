"""Mangled landing files, seeded, and what must become of each of their lines: the generator knows what it wrote."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GOOD = frozenset({"good"})
COLUMNS = ("event_id", "user_id", "item_id", "event", "value", "at", "title")
AT = "2024-03-01T12:00:00Z"
Row = dict[str, Any]


@dataclass
class Line:
    """One record as it was written. `outcomes`: good, or the reasons that quarantine may give."""

    id: str
    row: Row
    outcomes: frozenset[str] = GOOD
    text: str | None = None
    """The written text, where it is not just the row."""
    lines: int = 1


@dataclass
class MangledFile:
    """A file's content, its records, and how many lines with content it has; None where it was cut or spoilt."""

    name: str
    content: bytes
    records: list[Line] = field(default_factory=list)
    lines: int | None = 0


FAULTS: dict[str, tuple[Row, frozenset[str]]] = {
    "no user": ({"user_id": ""}, frozenset({"missing"})),
    "no item": ({"item_id": None}, frozenset({"missing"})),
    "word": ({"value": "many"}, frozenset({"type"})),
    "long number": ({"value": "9" * 400}, frozenset({"type", "impossible_value"})),
    "above": ({"value": 9}, frozenset({"impossible_value"})),
    "endless": ({"value": "Infinity"}, frozenset({"impossible_value"})),
    "NaN": ({"value": "NaN"}, frozenset({"impossible_value"})),
    "truth": ({"value": "true"}, frozenset({"type"})),
    "event": ({"event": "wave"}, frozenset({"unknown_event"})),
    "month 13": ({"at": "2024-13-45"}, frozenset({"type"})),
    "words": ({"at": "half past ten"}, frozenset({"type"})),
    "epoch in ns": ({"at": "1709290000000000000"}, frozenset({"type"})),
    "year 290000": ({"at": "+290000-01-01"}, frozenset({"type", "impossible_value", "clock_ahead"})),
    "before 1970": ({"at": "1969-01-01"}, frozenset({"impossible_value", "too_late"})),
    "tomorrow": ({"at": "2999-01-01"}, frozenset({"clock_ahead"})),
    "broken id": ({"user_id": "u\ufffdE9"}, frozenset({"unreadable"})),
}
TITLES = ("", 'a "quoted" word', "comma, comma", "\u202eemoji \U0001f600 it's % \\ ;", "x" * 300_000, "tab\there")


def _line(rng: random.Random, id: str, faults: float = 0.4) -> Line:
    row: Row = {"event_id": id, "user_id": f"u-{id}", "item_id": "i1", "event": "rating", "value": 5, "at": AT}
    row["title"] = rng.choice(TITLES) if rng.random() < 0.4 else "plain"
    if rng.random() > faults:
        return Line(id, row)
    changed, outcomes = FAULTS[rng.choice(sorted(FAULTS))]
    return Line(id, row | changed, outcomes)


def _pack(rng: random.Random, content: bytes) -> bytes:
    def zipped(content: bytes) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("in.txt", content)
        return packed.getvalue()

    return rng.choice((bytes, bytes, gzip.compress, bz2.compress, lzma.compress, zipped))(content)


def _encode(rng: random.Random, text: str) -> bytes:
    text = text.replace("\n", rng.choice(("\n", "\n", "\r\n", "\r")))
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32")))


def _cut(rng: random.Random, file: MangledFile) -> MangledFile:
    """The file without its end: each of its lines may be gone."""
    content = file.content[: rng.randrange(len(file.content))]
    return MangledFile(file.name, content, [Line(each.id, each.row, frozenset()) for each in file.records], None)


def _spoil(rng: random.Random, file: MangledFile) -> MangledFile:
    """The file with some other bytes in it."""
    content = bytearray(file.content)
    for _ in range(8):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return MangledFile(file.name, bytes(content), [Line(each.id, each.row, frozenset()) for each in file.records], None)


def _name(rng: random.Random, id: str, format: str) -> str:
    return f"{id}{rng.choice((f'.{format}', f'.{format}.gz', '.TXT', ''))}"


# csv


def _csv_field(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def _csv_text(line: Line, columns: list[str]) -> str:
    return line.text or ",".join(_csv_field(line.row.get(name)) for name in columns)


def _mangle_csv_line(rng: random.Random, line: Line, columns: list[str]) -> Line:
    """The line with wrong quotes, another number of fields, a line break in a value, or as it is."""
    plain = Line(line.id, line.row | {"title": "plain"})
    kind = rng.choice(("", "", "", "open", "closed", "short", "long", "break", "stray"))
    if kind == "open":
        line = Line(line.id, {}, frozenset({"unreadable"}), _csv_text(plain, columns).replace("plain", '"Heroes'))
    elif kind == "closed":
        line = Line(
            line.id, {}, frozenset({"unreadable"}), _csv_text(plain, columns).replace("plain", '"The "Best"" x')
        )
    elif kind == "stray" and line.outcomes == GOOD:
        line = Line(line.id, {}, GOOD, _csv_text(plain, columns).replace("plain", 'low"'))
    elif kind == "short":
        line = Line(line.id, {}, frozenset({"unreadable"}), line.id)
    elif kind == "long":
        line = Line(line.id, {}, frozenset({"unreadable"}), f"{_csv_text(plain, columns)},more")
    elif kind == "break" and line.outcomes == GOOD:
        line = Line(line.id, {}, GOOD, _csv_text(plain, columns).replace("plain", '"two\n\nlines, and\nmore"'), lines=3)
    return line


def csv_file(rng: random.Random, id: str) -> MangledFile:
    columns = [*COLUMNS, *(["more"] if rng.random() < 0.2 else [])]
    rng.shuffle(columns)
    lines = [_mangle_csv_line(rng, _line(rng, f"{id}.{n}"), columns) for n in range(rng.randrange(1, 9))]
    header, kind = ",".join(columns), rng.choice(("", "", "", "", "no header", "twice", "unnamed", "latin", "nul"))
    if kind == "no header":
        header = ""
    elif kind == "twice":
        header = header.replace("title", "user_id")
    if kind in ("no header", "twice"):  # each line is one record then, also those within a value
        lines = [Line(each.id, {}, frozenset({"unreadable"}), _csv_text(each, columns), each.lines) for each in lines]
    texts = [_csv_text(each, columns) for each in lines]
    if kind == "unnamed":
        header, texts = f"{header},,", [f"{text},," if "," in text else text for text in texts]
        for each in lines:
            if each.text and each.text.endswith(",more"):
                each.outcomes = frozenset({"unreadable"})
    blank = "\n \n" if rng.random() < 0.2 else "\n"
    text = blank.join([*([header] if header else []), *texts]) + rng.choice(("\n", ""))
    content = _encode(rng, text)
    if kind == "latin":
        content = text.replace("plain", "caf\u00e9").encode("latin-1", errors="replace")
    elif kind == "nul":
        content = text.replace("plain", "pl\0ain").encode()
    name = _name(rng, id, "csv")
    return MangledFile(name, _pack(rng, content), lines, sum(each.lines for each in lines))


# JSON


def json_file(rng: random.Random, id: str) -> MangledFile:
    lines = [_line(rng, f"{id}.{n}") for n in range(rng.randrange(1, 9))]
    for each in lines:
        each.row["title"] = rng.choice((each.row["title"], None, [1, {"a": [2]}], {"x": {}}, 1e300, True))
    kind = rng.choice(("lines", "lines", "lines", "array", "array of lines", "pretty", "pretty array", "joined"))
    rows = [each.row for each in lines]
    texts = [json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in rows]
    if kind == "lines":
        for each, n in zip(lines, range(len(lines)), strict=True):
            texts[n] = _mangle_json_line(rng, each, texts[n])
        text, count = "\n".join(texts), len(texts)
    elif kind == "joined":
        text, count = "".join(texts), 1
    elif kind == "array":
        text, count = json.dumps(rows), 1
    elif kind == "array of lines":
        text, count = "[\n" + ",\n".join(texts) + "\n]", len(texts)
    else:
        pretty = [json.dumps(row, indent=2) for row in rows]
        text = json.dumps(rows, indent=2) if kind == "pretty array" else "\n".join(pretty)
        count = sum(each.count("\n") + 1 for each in pretty)
    return MangledFile(_name(rng, id, "json"), _pack(rng, _encode(rng, text)), lines, count)


def _mangle_json_line(rng: random.Random, line: Line, text: str) -> str:
    kind = rng.choice(("", "", "", "cut", "open", "deep", "nul", "twice", "more"))
    if kind == "cut":
        line.outcomes = frozenset({"unreadable"})
        return text[: rng.randrange(len(line.id) + 20, len(text))]
    if kind == "open":
        line.outcomes = frozenset({"unreadable"})
        return text.replace('"user_id": "', '"user_id": ', 1)
    if kind == "deep":
        line.outcomes |= {"unreadable"}
        return text.replace("{", '{"deep": ' + "[" * 3_000 + "]" * 3_000 + ", ", 1)
    if kind == "nul":
        line.outcomes = (line.outcomes - GOOD) | {"unreadable"}
        return text.replace('"user_id": "', '"user_id": "\0', 1) if '"user_id": "' in text else text
    if kind == "twice":
        line.outcomes |= {"unreadable"}
        return text.replace("{", '{"event": "rating", "title": "a", "title": "b", ', 1)
    return text.replace("{", '{"more": {"a": null}, ', 1) if kind == "more" else text


# Parquet

PARQUET_VALUES: tuple[Callable[[list[Any]], pa.Array], ...] = (
    lambda values: pa.array([None if v is None else str(v) for v in values]),
    lambda values: pa.array(["" if v is None else str(v) for v in values]).dictionary_encode(),
    lambda values: pa.array([None if v is None else str(v).encode() for v in values]),
    lambda values: pa.array([None if v is None else str(v) for v in values], pa.large_string()),
)


def parquet_file(rng: random.Random, id: str) -> MangledFile:
    lines = [_line(rng, f"{id}.{n}") for n in range(rng.randrange(1, 9))]
    columns = list(COLUMNS)
    rng.shuffle(columns)
    data = {name: rng.choice(PARQUET_VALUES)([each.row[name] for each in lines]) for name in columns}
    kind = rng.choice(("", "", "", "", "numbers", "years", "nested", "no title", "no user", "empty"))
    if kind == "numbers":
        numbers = [5 if each.outcomes == GOOD else 77 for each in lines]
        data["value"] = pa.array(numbers, rng.choice((pa.int8(), pa.float32(), pa.decimal128(5, 2), pa.uint64())))
        for each, number in zip(lines, numbers, strict=True):
            each.outcomes = each.outcomes | ({"impossible_value"} if number == 77 else set())
    elif kind == "years":
        data["at"] = pa.array([2**60] * len(lines), pa.timestamp("us"))
        for each in lines:
            each.outcomes = frozenset({"unreadable"})
    elif kind == "nested":
        data["title"] = pa.array([[{"a": [b"\xff"]}]] * len(lines))
    elif kind == "no title":
        del data["title"]
    elif kind == "no user":
        del data["user_id"]
        for each in lines:
            each.outcomes = (each.outcomes - GOOD - {"unreadable"}) | {"missing"}
    elif kind == "empty":
        lines = []
        data = {name: values.slice(0, 0) for name, values in data.items()}
    out = io.BytesIO()
    pq.write_table(pa.table(data), out)
    content = gzip.compress(out.getvalue()) if rng.random() < 0.1 else out.getvalue()
    return MangledFile(_name(rng, id, "parquet"), content, lines, len(lines))


GENERATORS: dict[str, Callable[[random.Random, str], MangledFile]] = {
    "csv": csv_file,
    "json": json_file,
    "parquet": parquet_file,
}


def mangled_files(format: str, count: int, seed: int) -> list[MangledFile]:
    """Files of one format; some are cut, spoilt, or binary data."""
    rng = random.Random(f"{format} {seed}")
    files = []
    for number in range(count):
        file = GENERATORS[format](rng, f"{format[0]}{number}")
        chance = rng.random()
        if chance < 0.12:
            file = _cut(rng, file)
        elif chance < 0.2:
            file = _spoil(rng, file)
        elif chance < 0.23:
            file = MangledFile(file.name, rng.choice((b"", b"7z\xbc\xaf\x27\x1c\0", rng.randbytes(5_000))), [], None)
        files.append(file)
    return files
