"""arrow_rows.py: Parquet and ORC files with every kind of value become records that are JSON."""

import gzip
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from tests.spark_jobs.landing_records import bad, good, records

AT = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)


def test_nested_structs_maps_and_lists_are_json_without_nan(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": pa.array([{"id": "u1", "seen": [1.5, float("nan")]}]),
            "tags": pa.array([[("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int32())),
            "by_day": pa.array([[(date(2024, 3, 1), [b"x\xff"])]], pa.map_(pa.date32(), pa.list_(pa.binary()))),
            "prices": pa.array([[{"net": Decimal("1.50")}]]),
            "opens": pa.array([time(9, 30)]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = good(records(tmp_path / "a.parquet", "parquet"))
    assert row == {
        "user": {"id": "u1", "seen": [1.5, None]},
        "tags": {"a": 1, "b": 2},
        "by_day": {"2024-03-01": ["x\ufffdFF"]},
        "prices": [{"net": "1.50"}],
        "opens": "09:30:00",
    }


def test_a_map_that_has_a_key_twice_is_named_and_the_other_rows_are_read(tmp_path: Path) -> None:
    maps = pa.array([[("a", 1), ("a", 2)], [("a", 3)]], pa.map_(pa.string(), pa.int32()))
    pq.write_table(pa.table({"id": ["x", "y"], "tags": maps}), tmp_path / "a.parquet")
    found = records(tmp_path / "a.parquet", "parquet")
    assert [problem for _, _, problem in found] == ["the value of tags cannot be read", None]
    assert good(found) == [{"id": "y", "tags": {"a": 3}}]


def test_int96_times_are_moments_in_utc_whatever_their_year(tmp_path: Path) -> None:
    far = datetime(2500, 1, 1, tzinfo=UTC)
    moments = pa.array([AT, far, None], pa.timestamp("us", "UTC"))
    table = pa.table({"at": moments, "local": moments.cast(pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert pq.ParquetFile(tmp_path / "a.parquet").schema.column(0).physical_type == "INT96"
    assert [row["at"] for row in good(records(tmp_path / "a.parquet", "parquet"))] == [str(AT), str(far), None]


@pytest.mark.parametrize(("unit", "zone", "text"), [
    ("ns", None, "2024-03-01 12:30:00"), ("ns", "UTC", "2024-03-01 12:30:00+00:00"),
    ("ms", "Europe/Berlin", "2024-03-01 13:30:00+01:00"), ("us", None, "2024-03-01 12:30:00"),
])  # fmt: skip
def test_a_time_has_an_offset_where_its_column_has_a_zone(
    unit: str, zone: str | None, text: str, tmp_path: Path
) -> None:
    moments = pa.array([AT], pa.timestamp("us", "UTC")).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    pq.write_table(pa.table({"at": moments}), tmp_path / "a.parquet")
    assert good(records(tmp_path / "a.parquet", "parquet")) == [{"at": text}]


def test_an_orc_file_is_read_stripe_by_stripe_packed_or_not(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": f"é{n * 0.7919}", "text": str(n * 0.1), "at": AT, "n": {"a": [n]}} for n in range(20_000)
    ]
    table = pa.Table.from_pylist(rows)
    orc.write_table(table, str(tmp_path / "a.orc"), stripe_size=1 << 16, batch_size=512)
    assert orc.ORCFile(str(tmp_path / "a.orc")).nstripes > 1
    expected = [row | {"at": str(AT)} for row in rows]
    assert good(records(tmp_path / "a.orc", "orc")) == expected
    (tmp_path / "a.gz").write_bytes(gzip.compress((tmp_path / "a.orc").read_bytes()))
    assert good(records(tmp_path / "a.gz", "orc")) == expected


@pytest.mark.parametrize("format", ["orc", "parquet"])
def test_a_file_of_another_format_says_which_one_it_is(format: str, tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "text": ["b"]})
    orc.write_table(table, str(tmp_path / "a")) if format == "orc" else pq.write_table(table, tmp_path / "a")
    for declared in ("csv", "json", "python"):
        (note,) = bad(records(tmp_path / "a", declared))
        assert note == f"(file refused: it is of the format {format}; set the source's `format`)"
    other = "parquet" if format == "orc" else "orc"
    (note,) = bad(records(tmp_path / "a", other))
    assert note.startswith("(file damaged after 0 records: ")


def test_a_damaged_orc_file_gives_a_note_and_no_half_row(tmp_path: Path) -> None:
    orc.write_table(pa.table({"id": ["a"] * 1_000}), str(tmp_path / "whole"))
    content = (tmp_path / "whole").read_bytes()
    for cut in (4, len(content) // 2, len(content) - 1):
        (tmp_path / "a").write_bytes(content[:cut])
        (note,) = bad(records(tmp_path / "a", "orc"))
        assert note.startswith("(file damaged after 0 records: ")


def test_records_of_columns_explode_too(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": [["x", "y"], None]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = records(tmp_path / "a.parquet", "parquet", explode="text")
    assert [json.loads(text)["text"] for text, _, _ in found] == ["x", "y", None]
