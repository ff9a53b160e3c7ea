"""files.py: the records of a landing file, whatever state it is in."""

import gzip
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs.files import read_files, read_records


def test_json_lines_come_as_they_are_and_blank_ones_are_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \nnot json \xff\n{"b":"\xc3\xa9"}')
    assert list(read_records(file, "json")) == ['{"a": 1}', "not json \\xff", '{"b":"é"}']


def test_two_objects_glued_on_one_line_are_two_records(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": {"b": 1}}{"a": 2} {"a"\n{"a": "}{"}\n}{ junk\n')
    assert list(read_records(file, "json")) == ['{"a": {"b": 1}}', '{"a": 2}', '{"a"', '{"a": "}{"}', "}{ junk"]


def test_each_csv_file_has_the_header_it_has_and_quoted_newlines_are_text(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    one.write_text('id,text\n1,"two\nlines, one field"\n2,\n')
    two.write_bytes(gzip.compress(b"text,more,id\nx,y,3\n"))
    assert [json.loads(record) for record in [*read_records(one, "csv"), *read_records(two, "csv")]] == [
        {"id": "1", "text": "two\nlines, one field"},
        {"id": "2", "text": ""},
        {"text": "x", "more": "y", "id": "3"},
    ]


def test_a_csv_line_with_too_many_or_too_few_fields_is_kept_as_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('a,b\n1,2,3\n"x, y"\n4,5\n')
    assert list(read_records(file, "csv")) == ["1,2,3", '"x, y"', '{"a": "4", "b": "5"}']


def test_parquet_rows_are_records_and_a_value_that_json_has_not_is_none(tmp_path: Path) -> None:
    at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    rows: list[dict[str, Any]] = [{"at": at, "x": float("nan"), "tags": ["a"]}, {"at": None, "x": 1.5, "tags": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    first, second = (json.loads(record) for record in read_records(tmp_path / "a.parquet", "parquet"))
    assert first == {"at": "2024-03-01 12:00:00+00:00", "x": None, "tags": ["a"]}
    assert second == {"at": None, "x": 1.5, "tags": None}


def zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as out:
        out.write(content)
    return bytes(packed.getvalue().to_pybytes())


def gzip_cut_short(content: bytes) -> bytes:
    return gzip.compress(content)[:-9]


def zstd_cut_short(content: bytes) -> bytes:
    return zstd(content)[:-9]


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("zst", zstd)])
def test_a_packed_file_is_read_to_its_end_also_one_made_of_several(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    lines = [f'{{"n": {n}}}' for n in range(100_000)]
    file = tmp_path / f"a.jsonl.{ending}"
    file.write_bytes(pack("\n".join([*lines[:50_000], ""]).encode()) + pack("\n".join(lines[50_000:]).encode()))
    assert list(read_records(file, "json")) == lines


@pytest.mark.parametrize(
    ("name", "format", "spoil"),
    [
        ("a.jsonl.gz", "json", gzip_cut_short),
        ("a.jsonl.gz", "json", lambda _: b"no gzip"),
        ("a.jsonl.zst", "json", zstd_cut_short),
        ("a.jsonl.zst", "json", lambda _: b"no zstd"),
        ("a.csv.gz", "csv", gzip_cut_short),
        ("a.parquet", "parquet", lambda _: b"PAR1 and nothing else"),
        ("a.parquet", "parquet", lambda _: b"PAR1" + b"\0" * 100 + b"PAR1"),
    ],
)
def test_a_damaged_file_gives_what_can_be_read_and_one_record_that_says_so(
    tmp_path: Path, name: str, format: str, spoil: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(spoil(b"one\ntwo\n" * 10_000))
    *good, last = read_records(tmp_path / name, format)
    assert last.startswith(f"(file damaged after {len(good):,} records: ")


def test_a_file_that_is_gone_says_so_and_one_that_may_not_be_read_ends_the_run(tmp_path: Path) -> None:
    (gone,) = read_records(tmp_path / "a.jsonl", "json")
    assert re.match(r"\(file damaged after 0 records: .*No such file", gone)
    with pytest.raises(IsADirectoryError):  # as a missing permission does, which root never lacks
        list(read_records(tmp_path, "json"))


def test_files_are_named_as_they_are_listed_and_found_relative_to_the_project(tmp_path: Path) -> None:
    for name in ("in.jsonl", "with space.jsonl"):
        (tmp_path / name).write_text('{"a": 1}\n')
    at = datetime(2024, 3, 1, tzinfo=UTC)
    names = ["in.jsonl", str(tmp_path / "with space.jsonl")]
    listing = pa.RecordBatch.from_pylist([{"file": name, "modified": at} for name in names])
    found = pa.Table.from_batches(read_files(iter([listing]), "json", str(tmp_path)))
    assert found.to_pylist() == [{"raw": '{"a": 1}', "file": name, "file_modified_at": at} for name in names]
