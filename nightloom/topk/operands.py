"""The operands of nightloom.topk's screen: users and items as 8-bit integers or float32, in the order of its loops.

Users are signed, items unsigned (128 added), as the processor multiplies them. Each user and each block of tiles has a
scale. On a processor without such instructions the operands stay float32.
Shapes: B users, X values of one row, S sorted items, D factors, T tiles, C blocks of tiles.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_CPU_FEATURES = set(
    cpu_target.target_context.codegen().magic_tuple()[2].split(",")
)  # the instructions that numba compiles for
INT8 = bool(_CPU_FEATURES & {"+avx512vnni", "+avxvnni"})
_WIDE = "+avx512vnni" in _CPU_FEATURES or ("+avx512f" in _CPU_FEATURES and not INT8)
WIDTH, REGISTERS = (16, 4) if _WIDE else (8, 2) if "+avx2" in _CPU_FEATURES else (4, 4)
"""Lanes of a vector register, and the number of registers that hold items."""
STRIP = WIDTH * REGISTERS
"""Items that one step multiplies."""
TILE = 64
"""Items of a tile; their hits are the bits of one word."""
BLOCK = 16
"""Tiles that share a scale and bounds; their float32 rows fit into the L2 cache."""
SLACK = 1 + 2.0**-40
"""Factor that covers the rounding of a bound computed in float64."""


class Items(NamedTuple):
    """Items v in the order of the screen, with coarse copies v'; scale and bounds (largest values) per block."""

    ids_S: I64
    rows_SD: F32
    bias_S: F32  # padded to full tiles with -inf
    tiles_TX: NDArray[Any]
    scale_C: F64
    max_norm_C: F64  # |v|
    max_residual_C: F64  # |v - v'|
    coarse_norm_C: F64  # |v'|
    max_bias_C: F64
    max_abs_bias_C: F64


class Users(NamedTuple):
    """Users u with coarse copies u'; `offset_B` subtracts the 128 that was added to the items."""

    rows_BD: F32
    coarse_BX: NDArray[Any]
    offset_B: NDArray[Any]
    scale_B: F64
    norm_B: F64  # |u|
    residual_B: F64  # |u - u'|


def prepare_items(ids_S: I64, rows_SD: F32, bias_S: F32, int8: bool) -> Items:
    """Sorted items -> the operands of the screen, in 8-bit integers if `int8`, else in float32."""
    items, factors = rows_SD.shape
    tiles, padded_factors = -(-items // TILE), -(-factors // 4) * 4 if int8 else factors
    tiles_TX = np.full((tiles, TILE * padded_factors), 128 if int8 else 0, np.uint8 if int8 else np.float32)
    padded_S = np.full(tiles * TILE, -np.inf, np.float32)
    padded_S[:items] = bias_S
    bounds_6C = np.zeros((6, -(-tiles // BLOCK)))
    (_quantise_items if int8 else _tile_items)(rows_SD, bias_S, tiles_TX, bounds_6C)
    return Items(ids_S, rows_SD, padded_S, tiles_TX, *bounds_6C)


def prepare_users(rows_BD: F32, int8: bool) -> Users:
    """A block of users -> the operands of the screen."""
    users, factors = rows_BD.shape
    if not int8:
        norm_B = SLACK * np.sqrt(np.einsum("bd,bd->b", rows_BD, rows_BD, dtype=np.float64))
        return Users(rows_BD, rows_BD, np.zeros(users, np.float32), np.ones(users), norm_B, np.zeros(users))
    coarse_BX, offset_B = np.zeros((users, -(-factors // 4) * 4), np.int8), np.empty(users, np.int32)
    bounds_3B = np.empty((3, users))
    _quantise_users(rows_BD, coarse_BX, offset_B, bounds_3B)
    return Users(rows_BD, coarse_BX, offset_B, *bounds_3B)


@numba.njit(cache=True, nogil=True)
def _quantise_items(rows_SD: F32, bias_S: F32, tiles_TX: NDArray[np.uint8], bounds_6C: F64) -> None:
    items, factors = rows_SD.shape
    steps = tiles_TX.shape[1] // (4 * TILE)
    for c in range(bounds_6C.shape[1]):
        first, last = c * BLOCK * TILE, min((c + 1) * BLOCK * TILE, items)
        largest = np.float32(0)
        for s in range(first, last):
            for d in range(factors):
                largest = max(largest, abs(rows_SD[s, d]))
        scale = np.float64(largest) / 127 if largest > 0 else 1.0
        norm = residual = coarse_square = size = 0.0
        bias = -np.inf
        for s in range(first, last):
            squares = residual_squares = coarse_squares = 0.0
            strip = s % TILE // STRIP * STRIP
            for d in range(factors):
                value = np.float64(rows_SD[s, d])
                number = np.rint(value / scale)
                squares += value * value
                residual_squares += (value - scale * number) ** 2
                coarse_squares += number * number
                place = (strip * steps + d // 4 * STRIP + s % STRIP) * 4 + d % 4
                tiles_TX[s // TILE, place] = np.uint8(np.int64(number) + 128)
            norm, residual = max(norm, squares), max(residual, residual_squares)
            coarse_square = max(coarse_square, coarse_squares)
            bias, size = max(bias, np.float64(bias_S[s])), max(size, abs(np.float64(bias_S[s])))
        bounds_6C[0, c], bounds_6C[4, c], bounds_6C[5, c] = scale, bias, size
        bounds_6C[1, c], bounds_6C[2, c] = SLACK * np.sqrt(norm), SLACK * np.sqrt(residual)
        bounds_6C[3, c] = SLACK * scale * np.sqrt(coarse_square)


@numba.njit(cache=True, nogil=True)
def _tile_items(rows_SD: F32, bias_S: F32, tiles_TX: F32, bounds_6C: F64) -> None:
    """Here v' = v, and the bound |v - v'| is the rounding error of a float32 sum."""
    items, factors = rows_SD.shape
    for c in range(bounds_6C.shape[1]):
        norm = size = 0.0
        bias = -np.inf
        for s in range(c * BLOCK * TILE, min((c + 1) * BLOCK * TILE, items)):
            squares = 0.0
            strip = s % TILE // STRIP * STRIP
            for d in range(factors):
                squares += np.float64(rows_SD[s, d]) ** 2
                tiles_TX[s // TILE, strip * factors + d * STRIP + s % STRIP] = rows_SD[s, d]
            norm, bias = max(norm, squares), max(bias, np.float64(bias_S[s]))
            size = max(size, abs(np.float64(bias_S[s])))
        norm = SLACK * np.sqrt(norm)
        bounds_6C[0, c], bounds_6C[1, c], bounds_6C[2, c] = 1.0, norm, (2 * factors + 4) * 2.0**-24 * norm
        bounds_6C[3, c], bounds_6C[4, c], bounds_6C[5, c] = norm, bias, size


@numba.njit(cache=True, nogil=True)
def _quantise_users(rows_BD: F32, coarse_BX: NDArray[np.int8], offset_B: NDArray[np.int32], bounds_3B: F64) -> None:
    users, factors = rows_BD.shape
    for b in range(users):
        largest = np.float32(0)
        for d in range(factors):
            largest = max(largest, abs(rows_BD[b, d]))
        scale = np.float64(largest) / 127 if largest > 0 else 1.0
        norm = residual = 0.0
        total = np.int64(0)
        for d in range(factors):
            value = np.float64(rows_BD[b, d])
            number = np.rint(value / scale)
            norm += value * value
            residual += (value - scale * number) ** 2
            coarse_BX[b, d] = np.int8(number)
            total += np.int64(number)
        offset_B[b] = -128 * total
        bounds_3B[0, b], bounds_3B[1, b], bounds_3B[2, b] = scale, SLACK * np.sqrt(norm), SLACK * np.sqrt(residual)
