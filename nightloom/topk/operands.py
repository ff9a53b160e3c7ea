"""The operands of nightloom.topk's screen: users and items as 8-bit integers or float32, in the order of its loops.

Users are signed, items unsigned (128 added), as the processor multiplies them. Each user and each block of tiles has a
scale. On a processor without such instructions the operands stay float32.

Without VNNI the sums have 16 bits. A sum takes every second pair of factors, so an item has two: one half of the
factors each. Three bounds on the integers make both sums exact (_integer_scale):
- items are at most 127 + 128 = 255, and two neighbouring factors of a user at most 128 together: 255 * 128 < 2^15, so
  no sum of two products saturates;
- a half of u' and a half of v' have a norm below sqrt(2^15): by Cauchy-Schwarz |u'.v'| < 2^15 in each half, so its sum
  modulo 2^16 is the sum. The 128 that was added to the items cancels out modulo 2^16, too.
Shapes: B users, X values of one row, S sorted items, D factors, T tiles, C blocks of tiles, H halves of the factors.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numba
import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

Screen: TypeAlias = Literal["vnni", "int16", "float32"]
"""How coarse scores are summed up: 8-bit products in 32 bits (VNNI) or in 16 bits, or float32 products."""

_CPU_FEATURES = set(
    cpu_target.target_context.codegen().magic_tuple()[2].split(",")
)  # the instructions that numba compiles for
_VNNI = bool(_CPU_FEATURES & {"+avx512vnni", "+avxvnni"})
_WIDE = "+avx512vnni" in _CPU_FEATURES or ("+avx512bw" in _CPU_FEATURES and not _VNNI)
_SUPPORTED: dict[Screen, bool] = {"vnni": _VNNI, "int16": _WIDE or "+avx2" in _CPU_FEATURES, "float32": True}
SCREENS = tuple(screen for screen, supported in _SUPPORTED.items() if supported)
"""Those that this processor can compute, the fastest first."""
WIDTH, REGISTERS = (16, 4) if _WIDE else (8, 2) if "+avx2" in _CPU_FEATURES else (4, 4)
"""32-bit lanes of a vector register, and the number of registers that hold items."""
STRIP = WIDTH * REGISTERS
"""Items that one step multiplies."""
MAX_FACTORS = 1 << 16
"""Of 8-bit products: more could overflow 32 bits."""
_MAX_HALF_NORM = 181.0
"""Of each half of a coarse vector with 16-bit sums: 181^2 < 2^15."""
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
    """Users u with coarse copies u'; `offset_B` (B x H with 16-bit sums) subtracts the 128 added to the items."""

    rows_BD: F32
    coarse_BX: NDArray[Any]
    offset_B: NDArray[Any]
    scale_B: F64
    norm_B: F64  # |u|
    residual_B: F64  # |u - u'|


def prepare_items(ids_S: I64, rows_SD: F32, bias_S: F32, screen: Screen) -> Items:
    """Sorted items -> the operands of the screen."""
    items, factors = rows_SD.shape
    tiles, int8 = -(-items // TILE), screen != "float32"
    width = TILE * _padded(factors) if int8 else TILE * factors
    tiles_TX = np.full((tiles, width), 128 if int8 else 0, np.uint8 if int8 else np.float32)
    padded_S = np.full(tiles * TILE, -np.inf, np.float32)
    padded_S[:items] = bias_S
    bounds_6C = np.zeros((6, -(-tiles // BLOCK)))
    if int8:
        _quantise_items(rows_SD, bias_S, tiles_TX, bounds_6C, _max_half_norm(factors, screen))
    else:
        _tile_items(rows_SD, bias_S, tiles_TX, bounds_6C)
    return Items(ids_S, rows_SD, padded_S, tiles_TX, *bounds_6C)


def prepare_users(rows_BD: F32, screen: Screen) -> Users:
    """A block of users -> the operands of the screen."""
    users, factors = rows_BD.shape
    if screen == "float32":
        norm_B = SLACK * np.sqrt(np.einsum("bd,bd->b", rows_BD, rows_BD, dtype=np.float64))
        return Users(rows_BD, rows_BD, np.zeros(users, np.float32), np.ones(users), norm_B, np.zeros(users))
    coarse_BX, total_BH = np.zeros((users, _padded(factors)), np.int8), np.empty((users, 2), np.int64)
    bounds_3B = np.empty((3, users))
    _quantise_users(rows_BD, coarse_BX, total_BH, bounds_3B, _max_half_norm(factors, screen))
    offset_BH = -128 * total_BH
    offset_B = offset_BH.astype(np.int16) if screen == "int16" else offset_BH.sum(axis=1, dtype=np.int32)
    return Users(rows_BD, coarse_BX, offset_B, *bounds_3B)


def _padded(factors: int) -> int:
    """Factors of a coarse vector: a multiple of the 4 that one lane multiplies."""
    return -(-factors // 4) * 4


def _max_half_norm(factors: int, screen: Screen) -> float:
    """The norm of each half of a coarse vector before its numbers are rounded: that adds at most 1/2 to each number."""
    return _MAX_HALF_NORM - np.sqrt(_padded(factors) / 2) / 2 if screen == "int16" else np.inf


@numba.njit(cache=True, nogil=True)
def _quantise_items(
    rows_SD: F32, bias_S: F32, tiles_TX: NDArray[np.uint8], bounds_6C: F64, max_half_norm: float
) -> None:
    items, factors = rows_SD.shape
    steps = tiles_TX.shape[1] // (4 * TILE)
    for c in range(bounds_6C.shape[1]):
        first, last = c * BLOCK * TILE, min((c + 1) * BLOCK * TILE, items)
        scale = 0.0
        for s in range(first, last):
            largest, _, half_norm = _sizes(rows_SD[s])
            scale = max(scale, largest / 127, half_norm / max_half_norm)
        scale = scale if scale > 0 else 1.0
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
def _quantise_users(
    rows_BD: F32, coarse_BX: NDArray[np.int8], total_BH: I64, bounds_3B: F64, max_half_norm: float
) -> None:
    users, factors = rows_BD.shape
    total_BH[:] = 0
    for b in range(users):
        largest, pair, half_norm = _sizes(rows_BD[b])
        scale = max((pair if max_half_norm < np.inf else largest) / 127, half_norm / max_half_norm)
        scale = scale if scale > 0 else 1.0
        norm = residual = 0.0
        for d in range(factors):
            value = np.float64(rows_BD[b, d])
            number = np.rint(value / scale)
            norm += value * value
            residual += (value - scale * number) ** 2
            coarse_BX[b, d] = np.int8(number)
            total_BH[b, d // 2 % 2] += np.int64(number)
        bounds_3B[0, b], bounds_3B[1, b], bounds_3B[2, b] = scale, SLACK * np.sqrt(norm), SLACK * np.sqrt(residual)


@numba.njit(nogil=True)
def _sizes(row_D: F32) -> tuple[float, float, float]:
    """The largest absolute value, the largest sum of two neighbours' absolute values, and the larger half's norm."""
    largest, pair, first_half, second_half = 0.0, 0.0, 0.0, 0.0
    for d in range(0, len(row_D), 2):
        one = abs(np.float64(row_D[d]))
        other = abs(np.float64(row_D[d + 1])) if d + 1 < len(row_D) else 0.0
        largest, pair = max(largest, one, other), max(pair, one + other)
        if d % 4:
            second_half += one * one + other * other
        else:
            first_half += one * one + other * other
    return largest, pair, np.sqrt(max(first_half, second_half))
