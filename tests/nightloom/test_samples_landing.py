"""Landing files are complete, the same bytes each time, and left alone if their content does not change."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nightloom.samples.landing import Landing, as_bytes, decimal_text, json_lines, json_string


def test_lines_are_json_with_the_fields_in_order() -> None:
    lines = json_lines(
        {
            "id": json_string("u", decimal_text(np.array([7, 8]))),
            "value": "null",
            "new": decimal_text(np.array([True, False])),
        }
    )
    assert bytes(as_bytes(lines)) == (
        b'{"id": "u7", "value": null, "new": true}\n{"id": "u8", "value": null, "new": false}\n'
    )


def test_the_bytes_of_a_slice_are_only_its_own_rows() -> None:
    lines = pa.array(["a\n", "bc\n", "d\n"]).slice(1, 1)
    assert bytes(as_bytes(lines)) == b"bc\n"
    assert bytes(as_bytes(lines.slice(0, 0))) == b""


def test_a_file_with_the_same_content_keeps_its_time_stamp(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    landing.write("events/day.jsonl.gz", [b"{}\n"])
    os.utime(tmp_path / "events/day.jsonl.gz", (1, 1))
    landing.write("events/day.jsonl.gz", [b"{", b"}\n"])
    assert (tmp_path / "events/day.jsonl.gz").stat().st_mtime == 1
    assert (landing.written, landing.unchanged) == (1, 1)


def test_a_file_with_other_content_is_replaced(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    landing.write("day.jsonl.gz", [json.dumps({"n": 1}).encode()])
    landing.write("day.jsonl.gz", [json.dumps({"n": 2}).encode()])
    assert json.loads(gzip.decompress((tmp_path / "day.jsonl.gz").read_bytes())) == {"n": 2}
    assert (landing.written, landing.unchanged) == (2, 0)


def test_an_interrupted_writer_leaves_no_visible_file(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"{}\n"
        assert [file.name for file in tmp_path.iterdir()] == [".day.jsonl.gz.unfinished"]
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        Landing(tmp_path).write("day.jsonl.gz", chunks())
    assert list(tmp_path.iterdir()) == []
