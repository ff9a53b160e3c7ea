"""Lists of float32 -> JSON text, faster than DuckDB's cast; each number reads back as the same float.

A number has 7 or 8 digits where they suffice, otherwise 9, which always do. Zeros at the end are left out.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pyarrow as pa

LONGEST = 24
"""Bytes of the longest number, -0.0000123456789, and its comma, with a margin."""
ZERO = 64
POWERS = np.array([float(f"1e{exponent}") for exponent in range(-ZERO, ZERO + 1)])
"""1e-64 to 1e64; 1e0 is at ZERO."""
MINUS, DOT, DIGIT, LETTER_E, COMMA, OPEN, CLOSE = b"-.0e,[]"
NULL = np.frombuffer(b"null", np.uint8)


def json_lists(lists: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of lists of float32 -> a column of texts, [1.5,0.25]. A NaN (gate 3 stops it) becomes null."""
    whole = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    offsets, numbers = whole.offsets.to_numpy(), whole.values.to_numpy(zero_copy_only=False)
    text = np.empty(int(offsets[-1] - offsets[0]) * LONGEST + 2 * len(whole), np.uint8)
    ends = np.zeros(len(whole) + 1, np.int32)
    _write_lists(numbers, offsets, text, ends)
    return pa.StringArray.from_buffers(len(whole), pa.py_buffer(ends), pa.py_buffer(text))


@numba.njit(nogil=True, cache=True)
def _write_lists(numbers: Any, offsets: Any, text: Any, ends: Any) -> None:
    at = 0
    for row in range(len(offsets) - 1):
        text[at] = OPEN
        at += 1
        for position in range(offsets[row], offsets[row + 1]):
            if position > offsets[row]:
                text[at] = COMMA
                at += 1
            at = _write_number(numbers[position], text, at)
        text[at] = CLOSE
        at += 1
        ends[row + 1] = at


@numba.njit(nogil=True, cache=True)
def _write_number(number: Any, text: Any, at: Any) -> Any:
    """Write one number at a position -> the position after it."""
    value = np.float64(number)
    if not np.isfinite(value):
        text[at : at + 4] = NULL
        return at + 4
    if value < 0:
        text[at] = MINUS
        at, value = at + 1, -value
    if value == 0:
        text[at] = DIGIT
        return at + 1
    power, length = np.int64(math.frexp(value)[1] - 1) * 1233 >> 12, 6  # of ten, by that of two: right or 1 too low
    digits, exponent = np.uint32(0), power
    while length < 9 and np.float32(digits * POWERS[ZERO + exponent - length + 1]) != np.float32(value):
        length += 1
        digits, exponent = _round_digits(value, power, length)
    while digits % np.uint32(10) == 0:
        digits, length = digits // np.uint32(10), length - 1
    if -6 < exponent < 15:
        return _write_decimal(digits, length, exponent, text, at)
    at = _write_decimal(digits, length, 0, text, at)
    text[at] = LETTER_E
    at += 1
    if exponent < 0:
        text[at] = MINUS
        at, exponent = at + 1, -exponent
    two = 1 if exponent > 9 else 0
    return _write_decimal(np.uint32(exponent), 1 + two, two, text, at)


@numba.njit(nogil=True, cache=True)
def _round_digits(value: Any, exponent: Any, length: Any) -> Any:
    """The first `length` digits of a number as a whole number, and the power of ten of its first digit."""
    scaled = np.rint(value * POWERS[ZERO + length - 1 - exponent])
    while scaled >= POWERS[ZERO + length]:  # 9.99999996, or an exponent that is too low
        exponent += 1
        scaled = np.rint(value * POWERS[ZERO + length - 1 - exponent])
    return np.uint32(scaled), exponent


@numba.njit(nogil=True, cache=True)
def _write_decimal(digits: Any, length: Any, exponent: Any, text: Any, at: Any) -> Any:
    """Write `length` digits, without zeros at their end; the first digit stands for 10^exponent."""
    if exponent < 0:  # 0.00ddd
        end = at + 1 - exponent + length
        text[at:end] = DIGIT
        text[at + 1] = DOT
        last = end - 1
    elif exponent >= length - 1:  # ddd00
        end = at + exponent + 1
        text[at + length : end] = DIGIT
        last = at + length - 1
    else:  # d.ddd
        end = at + length + 1
        last = end - 1
        for _ in range(length - 1 - exponent):
            text[last] = DIGIT + digits % np.uint32(10)
            digits //= np.uint32(10)
            last -= 1
        text[last] = DOT
        last -= 1
    while digits:
        text[last] = DIGIT + digits % np.uint32(10)
        digits //= np.uint32(10)
        last -= 1
    return end
