"""files.py and readers/: the records of a landing file, whatever state it is in; each line is in exactly one record."""

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs.files import read_files
from spark_jobs.readers import text
from spark_jobs.readers.record import Layout
from tests.spark_jobs.landing_records import Read, bad, good, records

PLAYS = {"user": "string", "item": "string", "when": "timestamp", "title": "string"}
HEADER = "user,item,when,title\n"
DAY = "2024-03-01"


def play(n: int, title: str = "a") -> str:
    return f"u{n},i{n},{DAY},{title}\n"


# csv: quotes


def test_a_stray_quote_swallows_no_good_line(read: Read) -> None:
    lines = [play(n) for n in range(1_000)]
    lines[10], lines[900] = play(10, '"Heroes'), play(900, 'low"')
    found = read(HEADER + "".join(lines), "csv", PLAYS)
    problem = "the quote that opens field 4 is not closed before the next record"
    assert [record for record in found if record[2]] == [(play(10, '"Heroes').rstrip(), 1, problem)]
    assert [row["user"] for row in good(found)] == [f"u{n}" for n in range(1_000) if n != 10]
    assert good(found)[899]["title"] == 'low"'


@pytest.mark.parametrize(
    ("lines", "users", "unreadable"),
    [
        ([play(1, '"Heroes'), play(2, 'low"')], ["u2"], 1),  # neighbours: joined, they would be one good record
        ([play(1, '"a'), play(2, '"b'), play(3)], ["u3"], 2),
        ([play(1), play(2, '"open at the end').rstrip()], ["u1"], 1),
        ([play(1, '"open'), "no record\n", play(3)], ["u3"], 2),
        ([play(1, '"a" b'), play(2)], ["u2"], 1),
        ([play(1, '5" pipe'), play(2, '"a ""b"", c"')], ["u1", "u2"], 0),
        ([play(1, '"open'), play(2, '"a, b"'), play(3)], ["u2", "u3"], 1),
        ([f'"u1,i1,{DAY},a\n', play(2), f'u3,"i3,{DAY},b\n', play(4)], ["u2", "u4"], 2),
    ],
)
def test_a_line_that_is_a_record_by_itself_is_one_whatever_the_quotes_around_it(
    lines: list[str], users: list[str], unreadable: int, read: Read
) -> None:
    found = read(HEADER + "".join(lines), "csv", PLAYS)
    assert [row["user"] for row in good(found)] == users
    assert len(bad(found)) == unreadable
    assert set(bad(found)) <= {line.rstrip() for line in lines}


def test_a_quoted_value_may_span_lines_that_are_no_records(read: Read) -> None:
    text = "Great, really,\n\nI liked it, a lot, yes, do\n buy, it"
    found = read(f'user,item,when,title\nu1,i1,{DAY},"{text}"\nu2,i2,"{DAY}\n","x"\n', "csv", PLAYS)
    assert [(row["user"], row["title"]) for row in good(found)] == [("u1", text), ("u2", "x")]
    assert [lines for _, lines, _ in found] == [3, 2]


def test_a_very_long_open_quote_keeps_its_whole_text(read: Read) -> None:
    long = play(1, '"' + "x" * 20_000_000)
    assert bad(read(HEADER + long + play(2), "csv", PLAYS)) == [long.rstrip()]
    text = "x" * 2_000_000
    assert good(read(HEADER + play(1, f'"{text}"'), "csv", PLAYS))[0]["title"] == text


# csv: headers


def test_each_csv_file_has_the_header_it_has(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    one.write_text('\nid,text\n1,"two\nlines, one field"\n2,\n')
    two.write_bytes(gzip.compress(b'text,"more\nwords",id\nx,y,3\n'))
    assert good([*records(one, "csv"), *records(two, "csv")]) == [
        {"id": "1", "text": "two\nlines, one field"},
        {"id": "2", "text": ""},
        {"text": "x", "more\nwords": "y", "id": "3"},
    ]


def test_a_csv_line_with_too_many_or_too_few_fields_is_kept_as_a_line_with_the_reason(read: Read) -> None:
    found = read('id,text\n1,2,3\n"x, y"\n4,5\n', "csv")
    assert found == [
        ("1,2,3", 1, "it has 3 fields, expected 2: id, text"),
        ('"x, y"', 1, "it has 1 fields, expected 2: id, text"),
        ('{"id": "4", "text": "5"}', 1, None),
    ]


def test_a_first_line_that_is_no_header_is_a_record_and_each_line_says_what_was_found(read: Read) -> None:
    found = read("1,2268318\n2,2333346\n", "csv")
    assert [text for text, _, _ in found] == ["1,2268318", "2,2333346"]
    assert {problem for _, _, problem in found} == {
        "the first line of its file names none of the fields id, text; it is: 1, 2268318. "
        "Write `header = false` in the source if its files have no header"
    }
    assert good(read("1,2268318\n", "csv", header=False)) == [{"id": "1", "text": "2268318"}]


def test_a_doubled_name_is_named_and_columns_without_a_name_are_harmless(read: Read) -> None:
    assert read("id,text,id\n1,a,2\n", "csv") == [
        ("1,a,2", 1, "the header of its file names id more than once: id, text, id")
    ]
    found = read(",id,,text,,\n0,1,,a,,\n1,2,,b\n2,3,x,c,,y\n3,4,,d,,,\n", "csv")
    assert good(found) == [
        {"_c0": "0", "id": "1", "text": "a"},
        {"_c0": "1", "id": "2", "text": "b"},
        {"_c0": "2", "id": "3", "_c2": "x", "text": "c", "_c5": "y"},
    ]
    assert bad(found) == ["3,4,,d,,,"]


# JSON


def test_json_lines_come_as_they_are_and_blank_ones_are_no_records(read: Read) -> None:
    found = read(b'\xef\xbb\xbf{"a": 1}\r\n\n  \nnot json \xff\n{"b":"\xc3\xa9"}\r{"c": 1}', "json")
    texts = ['{"a": 1}', "not json \ufffdFF", '{"b":"é"}', '{"c": 1}']
    assert found == [(text, 1, "it is no JSON object" if "not" in text else None) for text in texts]


def test_objects_glued_on_one_line_are_records(read: Read) -> None:
    found = read('{"a": {"b": 1}}{"a": 2} {"a"\n{"a": "}{"}\n}{ junk\n', "json")
    assert [text for text, _, _ in found] == ['{"a": {"b": 1}}', '{"a": 2}', '{"a"', '{"a": "}{"}', "}{ junk"]
    assert bad(found) == ['{"a"', "}{ junk"]


OBJECTS: list[dict[str, Any]] = [{"a": 1, "b": [{"c": 1}, {"c": []}]}, {"a": 2}, {"a": "}, {"}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=2),
        "[\n" + ",\n".join(map(json.dumps, OBJECTS)) + "\n]\n",
        "[" + "\n,".join(map(json.dumps, OBJECTS)) + "]",
        "".join(json.dumps(each, indent=4) + "\n" for each in OBJECTS),
        "[" + ", ".join(json.dumps(each, indent=1) for each in OBJECTS) + "]",
    ],
)
def test_an_array_and_objects_over_several_lines_are_records(content: str, read: Read) -> None:
    assert good(read(content, "json")) == OBJECTS


def test_an_array_in_one_long_line_comes_in_pieces(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_LINE", 50)
    rows = [{"a": "x y" * (n % 7)} for n in range(100)]
    assert good(read(json.dumps(rows), "json")) == rows


def test_a_broken_object_takes_no_other_with_it(read: Read) -> None:
    broken = '{\n  "a": 1\n  "b": 2\n}\n{"a": "open\n{"a": {\n'
    found = read(broken + '{"a": 3}\n' + json.dumps({"a": 4}, indent=2) + "\n" + '{"x":' * 100_000, "json")
    assert good(found) == [{"a": 3}, {"a": 4}]
    assert bad(found) == [*(line.strip() for line in broken.splitlines()), '{"x":' * 100_000]


def test_half_a_character_is_marked_and_a_whole_one_is_not(read: Read) -> None:
    texts = [
        r'{"a": "\ud83d\ude00"}',
        r'{"a": "\ud83d"}',
        r'{"a": "\uDE00\ud83d!"}',
        r'{"a": "\\ud83d"}',
        '{\n"a":"\\udfff"}\n',
    ]
    found = good(read("\n".join(texts), "json"))
    assert [row["a"] for row in found] == ["\U0001f600", "\ufffdD83D", "\ufffdDE00\ufffdD83D!", r"\ud83d", "\ufffdDFFF"]


# Parquet


def test_parquet_rows_are_records_and_a_value_that_json_has_not_is_none(tmp_path: Path) -> None:
    at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    rows: list[dict[str, Any]] = [{"at": at, "x": float("nan"), "tags": ["a"]}, {"at": None, "x": 1.5, "tags": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert good(records(tmp_path / "a.parquet", "parquet")) == [
        {"at": "2024-03-01 12:00:00+00:00", "x": None, "tags": ["a"]},
        {"at": None, "x": 1.5, "tags": None},
    ]


def test_values_of_every_parquet_type_are_text_and_one_that_python_cannot_hold_is_named(tmp_path: Path) -> None:
    columns = {
        "binary": pa.array([b"u1", b"u\xff"]),
        "text": pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"b\xe9"]).buffers()),
        "ns": pa.array([1, 2**62], pa.timestamp("ns")),
        "decimal": pa.array([Decimal("1.50"), None]),
        "took": pa.array([timedelta(seconds=1), None]),
        "year": pa.array([0, 2**60], pa.timestamp("us")),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    first, second = records(tmp_path / "a.parquet", "parquet")
    row = json.loads(first[0])
    assert (row["binary"], row["text"], row["decimal"], row["kind"]) == ("u1", "a", "1.50", "a")
    assert row["ns"] == "1970-01-01 00:00:00.000000001"
    row = json.loads(second[0])
    assert (row["binary"], row["text"]) == ("u\ufffdFF", "b\ufffdE9")
    assert second[2] == "the value of year cannot be read"


def test_a_parquet_file_with_a_doubled_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.parquet")
    assert bad(records(tmp_path / "a.parquet", "parquet")) == [
        "(file refused: it has more than one column a; it has a, a)"
    ]


# compression, encoding, damage


def arrow(codec: str) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        packed = pa.BufferOutputStream()
        with pa.CompressedOutputStream(packed, codec) as out:
            out.write(content)
        return bytes(packed.getvalue().to_pybytes())

    return pack


def zipped(content: bytes, *names: str, password: bool = False) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("a.csv",):
            archive.writestr(name, content)
    return packed.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": arrow("zstd"), "lz4": arrow("lz4"),
    "plain": bytes, "zip": zipped, "gzip in zip": lambda content: zipped(gzip.compress(content)),
}  # fmt: skip


@pytest.mark.parametrize("method", PACK)
@pytest.mark.parametrize("name", ["EVENTS.CSV.GZ", "export.csv"])
def test_a_file_is_unpacked_by_its_first_bytes_whatever_its_name(method: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PACK[method](b"id,text\n1,a\n"))
    assert records(tmp_path / name, "csv") == [('{"id": "1", "text": "a"}', 1, None)]


@pytest.mark.parametrize("method", ["gzip", "zstd", "bzip2", "xz"])
def test_a_packed_file_is_read_to_its_end_also_one_made_of_several(method: str, tmp_path: Path) -> None:
    lines = [f'{{"n": {n}}}' for n in range(100_000)]
    file = tmp_path / "a.jsonl"
    parts = "\n".join([*lines[:50_000], ""]), "\n".join(lines[50_000:])
    file.write_bytes(b"".join(PACK[method](part.encode()) for part in parts))
    assert [text for text, _, _ in records(file, "json")] == lines


def test_each_file_of_a_zip_has_its_header(read: Read) -> None:
    found = read(zipped(b"text,id\na,1\n", "a.csv", "b/c.csv", "__MACOSX/._a.csv"), "csv")
    assert good(found) == [{"text": "a", "id": "1"}] * 2


def test_a_damaged_file_in_a_zip_does_not_hide_the_others(read: Read) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv.gz", gzip.compress(b"id,text\n1,a\n")[:-4])
        archive.writestr("b.csv", b"id,text\n2,b\n")
    found = read(packed.getvalue(), "csv")
    assert [row["id"] for row in good(found)] == ["1", "2"]
    assert [text[:29] for text in bad(found)] == ["(file damaged after 1 records"]


TAR = b"a.csv".ljust(257, b"\0") + b"ustar\x0000" + bytes(250)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"7z\xbc\xaf\x27\x1c\0\4", "it is a 7z archive; pack it as "),
        (b"Rar!\x1a\x07\x01\0", "it is a RAR archive"),
        (zipped(b"<x/>", "[Content_Types].xml", "xl/workbook.xml"), "it is an Office document"),
        (gzip.compress(TAR, mtime=0), "it is a tar archive; unpack it"),
        (HEADER.encode("utf-16-le"), "it is no text: 21 of its first 42 bytes are control characters"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(content: bytes, reason: str, read: Read) -> None:
    (note,) = read(content, "csv")
    assert note[0] == f"({note[2]})"
    assert note[1] is None
    assert str(note[2]).startswith(f"file refused: {reason}")


@pytest.mark.parametrize("method", ["gzip", "zstd", "bzip2", "xz", "lz4", "zip"])
def test_a_file_cut_short_gives_what_can_be_read_and_a_note_and_the_cut_line_is_no_record(
    method: str, tmp_path: Path
) -> None:
    numbers = [n * 7919 % 100_003 for n in range(100_000)]
    content = "id,text\n" + "".join(f"{n},{n}\n" for n in numbers)
    packed = PACK[method](content.encode())
    (tmp_path / "a").write_bytes(packed[: len(packed) * 3 // 4])
    found = records(tmp_path / "a", "csv")
    assert [row["id"] for row in good(found)] == [str(n) for n in numbers[: len(good(found))]]
    *cut, note = bad(found)
    assert re.match(rf"\(file (damaged after {len(found) - 1:,} records|refused): ", note)
    assert len(cut) <= 1


@pytest.mark.parametrize("content", [b"PAR1 and nothing else", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_damaged_parquet_file_gives_a_note(content: bytes, read: Read) -> None:
    (note,) = read(content, "parquet")
    assert note[0].startswith("(file damaged after 0 records: ")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_the_byte_order_mark_tells_the_encoding(encoding: str, read: Read) -> None:
    assert good(read("id,text\rJosé,ß\r".encode(encoding), "csv", encoding="ISO-8859-1")) == [
        {"id": "José", "text": "ß"}
    ]


def test_bytes_that_are_no_text_stay_different_and_a_declared_encoding_reads_them(read: Read) -> None:
    content = b"id,text\nJos\xe9,a\nJos\xe8,b\n\0,c\n"
    assert [row["id"] for row in good(read(content, "csv"))] == ["Jos\ufffdE9", "Jos\ufffdE8", "\ufffd00"]
    assert [row["id"] for row in good(read(content, "csv", encoding="windows-1252"))][:2] == ["José", "Josè"]
    (found,) = good(read('{"id": "José"}'.encode("utf-16-be"), "json", encoding="UTF-16BE"))
    assert found == {"id": "José"}


def test_a_file_that_is_gone_says_so_and_one_that_may_not_be_read_ends_the_run(tmp_path: Path) -> None:
    ((gone, _, _),) = records(tmp_path / "a.jsonl", "json")
    assert re.match(r"\(file damaged after 0 records: .*No such file", gone)
    with pytest.raises(IsADirectoryError):  # as a missing permission does, which root never lacks
        records(tmp_path, "json")


def test_files_are_named_as_they_are_listed_and_found_relative_to_the_project(tmp_path: Path) -> None:
    for name in ("in.jsonl", "with space.jsonl"):
        (tmp_path / name).write_text('{"a": 1}\n{"a": 2}\n')
    at = datetime(2024, 3, 1, tzinfo=UTC)
    names = ["in.jsonl", str(tmp_path / "with space.jsonl")]
    listing = pa.RecordBatch.from_pylist([{"file": name, "modified": at, "again": False} for name in names])
    found = pa.Table.from_batches(read_files(iter([listing]), Layout("json", {}), str(tmp_path), {})).to_pylist()
    assert [(row["raw"], row["file"]) for row in found] == [(f'{{"a": {n}}}', name) for name in names for n in (1, 2)]
    assert {(row["file_modified_at"], row["lines"], row["problem"]) for row in found} == {(at, 1, None)}
    summary = {"lines": 2, "undecoded": 0, "missing": [], "header": "", "again": False}
    assert [row["file_summary"] and json.loads(row["file_summary"]) for row in found] == [None, summary] * 2


def test_huge_records_come_in_batches_of_bounded_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(f'{{"a": "{"x" * 9_000_000}{n}"}}\n' for n in range(9)))
    listing = pa.RecordBatch.from_pylist([{"file": "a", "modified": datetime(2024, 3, 1, tzinfo=UTC), "again": False}])
    sizes = [batch.num_rows for batch in read_files(iter([listing]), Layout("json", {}), str(tmp_path), {})]
    assert sizes == [4, 4, 1]
