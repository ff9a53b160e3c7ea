"""avro_rows.py: Avro files with every kind of value become records that are JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.spark_jobs.landing_records import bad, good, problems, records

AT = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def avro(fields: dict[str, Any], rows: Sequence[dict[str, Any]], **options: Any) -> bytes:
    """The bytes of an Avro file."""
    schema = {"type": "record", "name": "r", "fields": [{"name": n, "type": t} for n, t in fields.items()]}
    file = io.BytesIO()
    fastavro.writer(file, schema, rows, **options)
    return file.getvalue()


def test_nested_values_are_json_and_what_json_lacks_is_text(tmp_path: Path) -> None:
    inner = {"type": "record", "name": "u", "fields": [{"name": "seen", "type": {"type": "array", "items": "double"}}]}
    fields = {
        "id": ["null", "string"], "user": inner, "tags": {"type": "map", "values": "long"}, "at": MICROS,
        "raw": "bytes", "day": {"type": "int", "logicalType": "date"},
        "opens": {"type": "int", "logicalType": "time-millis"},
        "price": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2},
        "kind": {"type": "enum", "name": "k", "symbols": ["a", "b"]},
    }  # fmt: skip
    row = {
        "id": "é", "user": {"seen": [1.5, float("nan")]}, "tags": {"x": 1}, "at": AT, "raw": b"x\xff",
        "day": date(2024, 3, 1), "opens": time(9, 30), "price": Decimal("1.50"), "kind": "b",
    }  # fmt: skip
    (tmp_path / "a.avro").write_bytes(avro(fields, [row, row | {"id": None}]))
    first, second = good(records(tmp_path / "a.avro", "avro"))
    assert first == {
        "id": "é", "user": {"seen": [1.5, None]}, "tags": {"x": 1}, "at": str(AT), "raw": "x\ufffdFF",
        "day": "2024-03-01", "opens": "09:30:00", "price": "1.50", "kind": "b",
    }  # fmt: skip
    assert second == first | {"id": None}


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_a_packed_file_is_read(tmp_path: Path, codec: str) -> None:
    (tmp_path / "a").write_bytes(avro({"id": "long"}, [{"id": n} for n in range(1_000)], codec=codec))
    assert [row["id"] for row in good(records(tmp_path / "a", "avro"))] == list(range(1_000))


def test_a_moment_after_the_year_9999_is_named_and_the_other_rows_are_read(tmp_path: Path) -> None:
    fields = {"id": "string", "at": MICROS}
    (tmp_path / "a").write_bytes(avro(fields, [{"id": "x", "at": 10**18}, {"id": "y", "at": 0}]))
    found = records(tmp_path / "a", "avro")
    assert [problem for _, _, problem in found] == ["the value of at cannot be read", None]
    assert good(found) == [{"id": "y", "at": "1970-01-01 00:00:00+00:00"}]


def test_a_damaged_file_gives_the_rows_before_the_damage_and_a_note(tmp_path: Path) -> None:
    rows = [{"id": n} for n in range(10_000)]
    plain, checked = (avro({"id": "long"}, rows, sync_interval=1_000, codec=codec) for codec in ("null", "bzip2"))
    half = len(checked) // 2
    overwritten = checked[:half] + b"\xff" * 40 + checked[half + 40 :]
    for name, content in {"cut": plain[: len(plain) // 2], "overwritten": overwritten}.items():
        (tmp_path / name).write_bytes(content)
        found = records(tmp_path / name, "avro")
        ids = [row["id"] for row in good(found)]
        assert 1_000 < len(ids) < 9_000
        assert ids == list(range(len(ids)))
        assert bad(found)[0].startswith(f"(file damaged after {len(ids):,} records: ")


def test_what_is_no_avro_of_records_is_refused_by_name(tmp_path: Path) -> None:
    numbers = io.BytesIO()
    fastavro.writer(numbers, "long", [1, 2])
    brotli = avro({"id": "long"}, []).replace(b"\x08null", b"\x0cbrotli")
    cases = {"rows are no records": numbers.getvalue(), "packed by 'brotli'; write": brotli, "header": b"Obj\1{}"}
    for words, content in cases.items():
        (tmp_path / "a").write_bytes(content)
        (found,) = problems(records(tmp_path / "a", "avro"))
        assert words in found
    (tmp_path / "a").write_bytes(avro({"id": "long"}, [{"id": 1}]))
    assert problems(records(tmp_path / "a", "json")) == [
        "file refused: it is of the format avro; set the source's `format`"
    ]
