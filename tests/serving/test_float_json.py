"""digits.py: each number reads back as the same float, in few digits, as JSON."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.float_json import json_lists


def texts(*lists: list[float]) -> list[str]:
    found: list[str] = json_lists(pa.array(lists, pa.list_(pa.float32()))).to_pylist()
    return found


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (1.0, "1"), (-9.5, "-9.5"), (0.1, "0.1"), (100.0, "100"), (123456.78, "123456.78"),
        (0.0625, "0.0625"), (1e14, "100000000000000"),
        (2.5e-5, "0.000025"), (1e-6, "1e-6"), (1e-12, "1e-12"), (-3.4e38, "-3.4e38"),
        (16777216.0, "16777216"), (float("nan"), "null"), (float("inf"), "null"),
    ],
)  # fmt: skip
def test_a_number_is_written_as_people_write_it(number: float, text: str) -> None:
    assert texts([number]) == [f"[{text}]"]


def test_lists_of_any_length_keep_their_places() -> None:
    assert texts([], [1.5], [2.0, -3.0, 4.25]) == ["[]", "[1.5]", "[2,-3,4.25]"]
    part = pa.array([[9.0], [1.5], [2.0, 3.0]], pa.list_(pa.float32())).slice(1)
    assert json_lists(part).to_pylist() == ["[1.5]", "[2,3]"]
    assert json_lists(pa.chunked_array([part, part])).to_pylist() == ["[1.5]", "[2,3]"] * 2


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_every_float_reads_back_as_itself(numbers: list[float]) -> None:
    back = np.array(json.loads(texts(numbers)[0]), np.float32)
    assert np.array_equal(back, np.array(numbers, np.float32))


def test_all_binades_and_powers_of_ten_read_back() -> None:
    bits = np.random.default_rng(7).integers(0, 1 << 32, 100_000, np.uint32).view(np.float32)
    powers = np.float32(10) ** np.arange(-38, 39, dtype=np.float32)
    numbers = np.concatenate([bits[np.isfinite(bits)], powers, np.nextafter(powers, np.float32(0))])
    back = np.array(json.loads(texts(numbers.tolist())[0]), np.float64).astype(np.float32)
    assert np.array_equal(back, numbers)
