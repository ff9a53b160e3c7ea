"""The inner loops of nightloom.topk: a coarse product selects a few items per user, which are then scored exactly.

Items are sorted by the largest score that they could have, descending. `_coarse_products` multiplies some users and a
tile of items in their coarse copies u' and v' (nightloom.topk.operands). The error is at most
    |u.v - u'.v'| <= |u| |v - v'| + |u - u'| |v'|
so an item whose coarse score is below the user's K-th best by more than this and rounding is in no list; `_hit_bits`
sets a bit for each other item. Those items are scored in float64, in one order of additions, and rounded to float32:
alone or in a batch, on one thread or many, a user gets the same list. A key is an int64 with the score in the upper
half and the complement of the id in the lower half: of two keys the larger is the better item, and no two are equal. A
full buffer of keys drops those below its K-th best.

`_coarse_products` and `_hit_bits` are LLVM code: numba would not keep their sums in registers. This module is long
because numba's cache checks only the file of the cached function: after a change of an inlined function in another file
it would run the old code. Shapes: B users, S sorted items, I items, D factors, T tiles, C blocks of tiles, K list
length, N places of a buffer.
"""

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numpy.typing import NDArray

from nightloom.topk.operands import BLOCK, F32, F64, I64, REGISTERS, STRIP, TILE, WIDTH, Items, Users

Words: TypeAlias = NDArray[np.uint64]
intrinsic: Any = extending.intrinsic  # its type wrongly includes the first argument, the context
USERS = 6  # of one product: their sums fill the registers that the items leave free
NO_KEY = np.int64(np.iinfo(np.int64).min)  # less than the key of every score
ID_MASK = np.int64(0xFFFFFFFF)
MIN_SCORE = np.float32(-3e38)  # less than every score
ROUNDING, TINY = 2.0**-21, 2.0**-120
"""Bounds of the rounding in float32: relative to the largest possible score, and absolute, for underflow."""
GROUPS_PER_K, GROUP_SIZE = 4, 4
"""Of the likely best items: groups of items per list place, and items in a group at least."""
FILTER_BITS = 1024


class Exclusions(NamedTuple):
    """Seen items, each user's ascending; each item's place in the sorted order; places by bias, then id."""

    indptr: I64
    indices: I64
    place_I: I64
    by_bias_S: I64


class _SeenFilter(NamedTuple):
    """The seen items of all users, each user's ascending, and a bit filter per user that rules out most other items."""

    indptr: I64
    indices: I64
    bits_BW: Words


class _TopBuffer(NamedTuple):
    """The best keys so far: `count` per user, in any order; keys up to `floor` are in no list."""

    keys_BN: I64
    count_B: I64
    floor_B: I64


@numba.njit(cache=True, nogil=True)
def screen_users(users: Users, items: Items, exclusions: Exclusions, k: int) -> I64:
    """The keys of each user's k best items, B x K, in any order; NO_KEY where no item is left. Needs k <= S."""
    count = len(users.norm_B)
    seen, best = _build_filter(exclusions.indptr, exclusions.indices), _empty_buffer(count, k)
    threshold_B = np.full(count, -np.inf)
    _fill_zero_users(users, items, exclusions.by_bias_S, seen, k, best, threshold_B)
    first_blocks = _screen_first_blocks(users, items, exclusions.place_I, seen, k, best, threshold_B)
    rows = np.empty(count + USERS, np.int64)
    factor_B, screen_threshold_B = np.empty(count, np.float32), np.empty(count, np.float32)
    sums, words = np.empty((USERS, TILE), np.float32), np.empty((USERS, BLOCK), np.uint64)
    places, better = np.empty(BLOCK * TILE, np.int64), np.empty(BLOCK * TILE + 1, np.int64)
    for c in range(first_blocks, len(items.scale_C)):
        begin, end = c * BLOCK, min((c + 1) * BLOCK, len(items.tiles_TX))
        active = 0
        for b in range(count):
            factor_B[b] = users.scale_B[b] * items.scale_C[c]
            screen_threshold_B[b] = _screen_threshold(users, items, b, c, threshold_B[b])
            rows[active] = b
            largest = users.norm_B[b] * items.max_norm_C[c] + items.max_bias_C[c] + _rounding(users, items, b, c)
            active += largest >= threshold_B[b]
        rows[active : active + USERS] = rows[max(active - 1, 0)]
        for first in range(0, active, USERS):
            for tile in range(begin, end):
                _coarse_products(users.coarse_BX, rows, first, items.tiles_TX, tile, users.offset_B, sums)
                for m in range(USERS):
                    b = rows[first + m]
                    words[m, tile - begin] = _hit_bits(sums, m, factor_B[b], items.bias_S, tile, screen_threshold_B[b])
            for m in range(min(USERS, active - first)):
                b = rows[first + m]
                hits = _positions(words, m, begin, end, places)
                number = _score_hits(users.rows_BD, b, items, places, hits, best.floor_B[b], better)
                if _insert(better, number, seen, b, best, k):
                    threshold_B[b] = _score_of(best.floor_B[b])
    return _collect_keys(best, k)


@numba.njit(cache=True, nogil=True)
def top_keys_of_rows(scores_BI: F32, allowed_I: NDArray[np.bool_], indptr: I64, indices: I64, k: int) -> I64:
    """The keys of the k best items of each score row, B x K, in any order; NO_KEY where no item is left."""
    users, items = scores_BI.shape
    seen, best = _build_filter(indptr, indices), _empty_buffer(users, k)
    keys = np.empty(TILE, np.int64)
    for b in range(users):
        lowest = np.float32(-np.inf)
        for first in range(0, items, TILE):
            block, allowed = scores_BI[b, first : first + TILE], allowed_I[first : first + TILE]
            hits, number = np.int32(0), 0
            for score in block:
                hits += np.int32(score >= lowest)
            for n in range(len(block) if hits else 0):
                keys[number] = _key_of(block[n], np.int64(first + n))
                number += allowed[n] and block[n] >= lowest
            if _insert(keys, number, seen, b, best, k):
                lowest = _score_of(best.floor_B[b])
    return _collect_keys(best, k)


@numba.njit(nogil=True, forceinline=True)
def _positions(words: Words, m: int, begin: int, end: int, places: I64) -> int:
    """Write the sorted places of a block's hits, ascending, into `places`; returns their number."""
    hits = 0
    for tile in range(begin, end):
        word = words[m, tile - begin]
        while word != 0:
            places[hits] = tile * TILE + _trailing_zeros(word)
            hits += 1
            word &= word - np.uint64(1)
    return hits


@numba.njit(nogil=True, forceinline=True, fastmath={"reassoc", "contract"})
def _score_hits(rows_BD: F32, b: int, items: Items, places: I64, hits: int, floor: int, better: I64) -> int:
    """Score the hits exactly, and write the keys above `floor` into `better`; returns their number."""
    number = 0
    for n in range(hits):
        s = places[n]
        total = np.float64(0)
        for d in range(rows_BD.shape[1]):
            total += np.float64(rows_BD[b, d]) * np.float64(items.rows_SD[s, d])
        better[number] = _key_of(np.float32(total + np.float64(items.bias_S[s])), items.ids_S[s])
        number += better[number] > floor
    return number


@numba.njit(nogil=True, forceinline=True)
def _rounding(users: Users, items: Items, b: int, c: int) -> float:
    """How far rounding may move a user's scores of a block."""
    return float(ROUNDING * (users.norm_B[b] * items.max_norm_C[c] + items.max_abs_bias_C[c]) + TINY)


@numba.njit(nogil=True, forceinline=True)
def _screen_threshold(users: Users, items: Items, b: int, c: int, threshold: float) -> np.float32:
    """The coarse score from which on an item of a block may reach the threshold."""
    error = users.norm_B[b] * items.max_residual_C[c] + users.residual_B[b] * items.coarse_norm_C[c]
    return np.float32(max(threshold - error - _rounding(users, items, b, c), MIN_SCORE))


@numba.njit(nogil=True)
def _screen_first_blocks(
    users: Users, items: Items, place_I: I64, seen: _SeenFilter, k: int, best: _TopBuffer, threshold_B: F64
) -> int:
    """Screen the first blocks, where most of the best items are; returns their number.

    The likely best items are scored first. The k-th best of them is the user's first threshold, without any error, and
    the other items are measured by it.
    """
    count, groups = len(threshold_B), -(-GROUPS_PER_K * k // TILE)  # groups: a multiple of TILE of them, in tiles
    blocks = min(-(-groups * GROUP_SIZE // BLOCK), len(items.scale_C))
    tiles = min(blocks * BLOCK, len(items.tiles_TX))
    rows = np.minimum(np.arange(count + USERS), count - 1)
    sums, best_G = np.empty((tiles, USERS, TILE), np.float32), np.empty(max(tiles // GROUP_SIZE, 1) * TILE, np.float32)
    likely, others = np.empty((1, tiles), np.uint64), np.empty((1, tiles), np.uint64)
    places, better = np.empty(tiles * TILE, np.int64), np.empty(tiles * TILE + 1, np.int64)
    for first in range(0, count, USERS):
        for tile in range(tiles):
            _coarse_products(users.coarse_BX, rows, first, items.tiles_TX, tile, users.offset_B, sums[tile])
        for b in range(first, min(first + USERS, count)):
            if users.norm_B[b] == 0:
                continue
            m, lowest = b - first, _lowest_likely(users, items, sums, b, b - first, place_I, seen, k, best_G)
            for tile in range(tiles):
                factor = np.float32(users.scale_B[b] * items.scale_C[tile // BLOCK])
                likely[0, tile] = _hit_bits(sums[tile], m, factor, items.bias_S, tile, lowest)
            hits = _positions(likely, 0, 0, tiles, places)
            number = _score_hits(users.rows_BD, b, items, places, hits, best.floor_B[b], better)
            _insert(better, number, seen, b, best, k)
            if best.count_B[b] >= k:
                _compact(best, b, k, k // 8)
                threshold_B[b] = _score_of(best.floor_B[b])
            for tile in range(tiles):
                c = tile // BLOCK
                factor = np.float32(users.scale_B[b] * items.scale_C[c])
                lowest = _screen_threshold(users, items, b, c, threshold_B[b])
                hit = _hit_bits(sums[tile], m, factor, items.bias_S, tile, lowest)
                others[0, tile] = hit ^ (hit & likely[0, tile])
            hits = _positions(others, 0, 0, tiles, places)
            number = _score_hits(users.rows_BD, b, items, places, hits, best.floor_B[b], better)
            if _insert(better, number, seen, b, best, k):
                threshold_B[b] = _score_of(best.floor_B[b])
    return blocks


@numba.njit(nogil=True)
def _lowest_likely(
    users: Users, items: Items, sums: F32, b: int, m: int, place_I: I64, seen: _SeenFilter, k: int, best_G: F32
) -> np.float32:
    """A coarse score that k unseen items of the first tiles reach, and few more; MIN_SCORE where so many are not there.

    `sums` are the coarse products of the tiles, T x USERS x TILE, and `m` is the user's row. The items form groups
    across the tiles, and each group's best has a coarse score (`best_G`). So many groups reach the k-th best of these
    scores. Each seen item spoils at most one group, so k grows by those of the first tiles.
    """
    best_G[:] = MIN_SCORE
    for tile in range(len(sums)):
        factor, bias = np.float32(users.scale_B[b] * items.scale_C[tile // BLOCK]), items.bias_S[tile * TILE :]
        own, best = sums[tile, m], best_G[tile * TILE % len(best_G) :]
        for lane in range(TILE):
            score = own[lane] * factor + bias[lane]
            best[lane] = score if score > best[lane] else best[lane]
    for n in range(seen.indptr[b], seen.indptr[b + 1]):
        k += place_I[seen.indices[n]] < len(sums) * TILE
    return _approximate_kth(best_G, k) if k <= len(best_G) else MIN_SCORE


@numba.njit(nogil=True)
def _fill_zero_users(
    users: Users, items: Items, by_bias_S: I64, seen: _SeenFilter, k: int, best: _TopBuffer, threshold_B: F64
) -> None:
    """Users whose vector is zero get the unseen items of the largest biases, without a screen."""
    for b in range(len(threshold_B)):
        if users.norm_B[b] > 0:
            continue
        threshold_B[b] = np.inf
        for s in by_bias_S:
            if best.count_B[b] == k:
                break
            if not _is_seen(seen, b, items.ids_S[s]):
                best.keys_BN[b, best.count_B[b]] = _key_of(items.bias_S[s], items.ids_S[s])
                best.count_B[b] += 1


@numba.njit(nogil=True, forceinline=True)
def _key_of(score: np.float32, item: np.integer) -> np.int64:
    positive_zero = np.float32(score + np.float32(0))  # -0.0 becomes 0.0: equal scores need equal bits
    bits = np.int64(positive_zero.view(np.int32))
    ordered = bits ^ 0x7FFFFFFF if bits < 0 else bits  # integers in the order of the floats
    return np.int64((ordered << 32) | (ID_MASK - item))


@numba.njit(nogil=True, forceinline=True)
def _score_of(key: np.int64) -> np.float32:
    ordered = np.int32(key >> 32)
    return np.float32(np.int32(ordered ^ np.int32(0x7FFFFFFF) if ordered < 0 else ordered).view(np.float32))


@numba.njit(nogil=True)
def _build_filter(indptr: I64, indices: I64) -> _SeenFilter:
    bits_BW = np.zeros((len(indptr) - 1, FILTER_BITS // 64), np.uint64)
    for b in range(len(bits_BW)):
        for n in range(indptr[b], indptr[b + 1]):
            bit = np.uint64(indices[n]) % np.uint64(FILTER_BITS)
            bits_BW[b, bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
    return _SeenFilter(indptr, indices, bits_BW)


@numba.njit(nogil=True, forceinline=True)
def _is_seen(seen: _SeenFilter, b: int, item: np.integer) -> bool:
    bit = np.uint64(item) % np.uint64(FILTER_BITS)
    if not (seen.bits_BW[b, bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
        return False
    low, high = seen.indptr[b], seen.indptr[b + 1]
    while low < high:
        middle = (low + high) // 2
        if seen.indices[middle] < item:
            low = middle + 1
        else:
            high = middle
    return bool(low < seen.indptr[b + 1] and seen.indices[low] == item)


@numba.njit(nogil=True)
def _empty_buffer(users: int, k: int) -> _TopBuffer:
    keys_BN = np.empty((users, 2 * k + 32), np.int64)
    return _TopBuffer(keys_BN, np.zeros(users, np.int64), np.full(users, NO_KEY, np.int64))


@numba.njit(nogil=True, forceinline=True)
def _insert(keys: I64, number: int, seen: _SeenFilter, b: int, best: _TopBuffer, k: int) -> bool:
    """Insert the first `number` of `keys`, without seen items; returns whether the floor has risen."""
    risen = False
    for n in range(number):
        if keys[n] > best.floor_B[b] and not _is_seen(seen, b, ID_MASK - (keys[n] & ID_MASK)):
            best.keys_BN[b, best.count_B[b]] = keys[n]
            best.count_B[b] += 1
            if best.count_B[b] == best.keys_BN.shape[1]:
                _compact(best, b, k, k // 8)
                risen = True
    return risen


@numba.njit(nogil=True)
def _compact(best: _TopBuffer, b: int, k: int, more: int) -> None:
    """Drop all keys but the k best and at most `more`; needs at least k keys."""
    keys, remaining = best.keys_BN[b, : best.count_B[b]], best.count_B[b]
    low, high = keys.min(), keys.max() + 1  # at least k keys are >= low, fewer than k are >= high
    while remaining > k + more:
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        above = 0
        for key in keys:
            above += key >= middle
        if above >= k:
            low, remaining = middle, above
        else:
            high = middle
    number = 0
    for key in keys:
        keys[number] = key
        number += key >= low
    best.count_B[b], best.floor_B[b] = remaining, low - 1


@numba.njit(nogil=True)
def _collect_keys(best: _TopBuffer, k: int) -> I64:
    """B x K keys, in any order; NO_KEY where a user has fewer."""
    keys_BK = np.full((len(best.count_B), k), NO_KEY, np.int64)
    for b in range(len(keys_BK)):
        if best.count_B[b] > k:
            _compact(best, b, k, 0)
        keys_BK[b, : best.count_B[b]] = best.keys_BN[b, : best.count_B[b]]
    return keys_BK


@numba.njit(nogil=True)
def _approximate_kth(numbers: F32, k: int) -> np.float32:
    """A number that at least k of the numbers reach, near the k-th largest (bisection)."""
    low = high = numbers[0]
    for number in numbers:
        low, high = number if number < low else low, number if number > high else high
    for _ in range(10):
        middle = np.float32(0.5) * low + np.float32(0.5) * high  # a sum of two large ones could overflow
        above = np.int32(0)
        for number in numbers:
            above += np.int32(number >= middle)
        if above >= k:
            low = middle
        else:
            high = middle
    return np.float32(low)


_SIZE = ir.IntType(64)
_NUMBERS, _INTEGERS = (ir.VectorType(element, WIDTH) for element in (ir.FloatType(), ir.IntType(32)))
_PAIRS, _BYTES = (ir.VectorType(ir.IntType(32 // n), n * WIDTH) for n in (2, 4))


class _Array:
    """A numba array in LLVM code: elements, or vectors of them, at an index into the flat array."""

    def __init__(self, target: Any, builder: Any, kind: Any, value: Any, element: Any = None) -> None:
        array = target.make_array(kind)(target, builder, value)
        self.builder, self.data = builder, array.data
        self.element = element or target.get_data_type(kind.dtype)
        self.columns = builder.extract_value(array.shape, kind.ndim - 1)

    def _pointer(self, index: Any, element: Any) -> Any:
        return self.builder.gep(self.builder.bitcast(self.data, element.as_pointer()), [index])

    def load(self, index: Any, element: Any = None) -> Any:
        return self.builder.load(self._pointer(index, element or self.element))

    def load_vector(self, index: Any) -> Any:
        kind = ir.VectorType(self.element, WIDTH)
        return self.builder.load(self.builder.bitcast(self._pointer(index, self.element), kind.as_pointer()), align=4)

    def store_vector(self, vector: Any, index: Any) -> None:
        self.builder.store(
            vector, self.builder.bitcast(self._pointer(index, self.element), vector.type.as_pointer()), align=4
        )


def _offset(builder: Any, index: Any, size: int, plus: int) -> Any:
    return builder.add(builder.mul(index, ir.Constant(_SIZE, size)), ir.Constant(_SIZE, plus))


def _broadcast(builder: Any, scalar: Any, vector: Any) -> Any:
    """A vector with the scalar in every lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


@intrinsic
def _trailing_zeros(context: Any, word: Any) -> Any:
    def emit(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@intrinsic
def _hit_bits(context: Any, sums: Any, row: Any, factor: Any, bias: Any, tile: Any, threshold: Any) -> Any:
    """A bit for each item of a tile: factor * sum + bias >= threshold."""

    def emit(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums, bias = (_Array(target, builder, signature.args[n], values[n]) for n in (0, 3))
        factors, thresholds = (_broadcast(builder, values[n], _NUMBERS) for n in (2, 5))
        word = ir.Constant(_SIZE, 0)
        for lane in range(0, TILE, WIDTH):
            operands = [
                sums.load_vector(_offset(builder, values[1], TILE, lane)), factors,
                bias.load_vector(_offset(builder, values[4], TILE, lane)),
            ]  # fmt: skip
            score = _call(builder, f"llvm.fmuladd.v{WIDTH}f32", _NUMBERS, *operands)
            passed = builder.bitcast(builder.fcmp_ordered(">=", score, thresholds), ir.IntType(WIDTH))
            word = builder.or_(word, builder.shl(builder.zext(passed, _SIZE), ir.Constant(_SIZE, lane)))
        return word

    return types.uint64(sums, row, types.float32, bias, tile, types.float32), emit


def _call(builder: Any, name: str, result: Any, *operands: Any) -> Any:
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _add_float32(builder: Any, total: Any, items: Any, user: Any) -> Any:
    return _call(builder, f"llvm.fmuladd.v{WIDTH}f32", _NUMBERS, items, user, total)


def _add_vnni(builder: Any, total: Any, items: Any, user: Any) -> Any:
    return _call(builder, f"llvm.x86.avx512.vpdpbusd.{WIDTH * 32}", _INTEGERS, total, items, user)


def _add_int16(builder: Any, total: Any, items: Any, user: Any) -> Any:
    """Each lane holds two sums of 16 bits, of the first and of the second two of its four factors."""
    name = "llvm.x86.avx512.pmaddubs.w.512" if WIDTH == 16 else "llvm.x86.avx2.pmadd.ub.sw"
    products = _call(builder, name, _PAIRS, *(builder.bitcast(each, _BYTES) for each in (items, user)))
    return builder.bitcast(builder.add(builder.bitcast(total, _PAIRS), products), _INTEGERS)


def _from_float32(builder: Any, total: Any) -> Any:
    return total


def _from_vnni(builder: Any, total: Any) -> Any:
    return builder.sitofp(total, _NUMBERS)


def _from_int16(builder: Any, total: Any) -> Any:
    name = "llvm.x86.avx512.pmaddw.d.512" if WIDTH == 16 else "llvm.x86.avx2.pmadd.wd"
    ones = ir.Constant(_PAIRS, [1] * _PAIRS.count)
    return builder.sitofp(_call(builder, name, _INTEGERS, builder.bitcast(total, _PAIRS), ones), _NUMBERS)


@intrinsic
def _coarse_products(
    context: Any, coarse: Any, rows: Any, first: Any, tiles: Any, tile: Any, offsets: Any, sums: Any
) -> Any:
    """offset + u'.v' of USERS users, rows[first:], and all items of a tile -> `sums`, USERS x TILE."""
    vector, factors, add, convert = {
        types.float32: (_NUMBERS, 1, _add_float32, _from_float32),
        types.int32: (_INTEGERS, 4, _add_vnni, _from_vnni),
        types.int16: (_INTEGERS, 4, _add_int16, _from_int16),
    }[offsets.dtype]

    def emit(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        coarse, rows, tiles, offsets = (
            _Array(target, builder, signature.args[n], values[n], vector.element) for n in (0, 1, 3, 5)
        )
        sums = _Array(target, builder, signature.args[6], values[6])
        steps = builder.udiv(coarse.columns, ir.Constant(_SIZE, factors))
        users = [rows.load(_offset(builder, values[2], 1, m), _SIZE) for m in range(USERS)]
        vectors = [builder.mul(user, steps) for user in users]
        for strip in range(0, TILE, STRIP):
            totals = [[cgutils.alloca_once(builder, vector) for _ in range(REGISTERS)] for _ in range(USERS)]
            for user, registers in zip(users, totals, strict=True):
                for register in registers:
                    builder.store(_broadcast(builder, offsets.load(user), vector), register)
            begin = builder.mul(_offset(builder, values[4], TILE, strip), steps)
            with cgutils.for_range(builder, steps) as loop:
                here = builder.add(begin, builder.mul(loop.index, ir.Constant(_SIZE, STRIP)))
                items = [tiles.load_vector(_offset(builder, here, 1, n * WIDTH)) for n in range(REGISTERS)]
                for own, registers in zip(vectors, totals, strict=True):
                    user = _broadcast(builder, coarse.load(builder.add(own, loop.index)), vector)
                    for register, item in zip(registers, items, strict=True):
                        builder.store(add(builder, builder.load(register), item, user), register)
            for m, registers in enumerate(totals):
                for n, register in enumerate(registers):
                    total = convert(builder, builder.load(register))
                    sums.store_vector(total, ir.Constant(_SIZE, m * TILE + strip + n * WIDTH))
        return target.get_dummy_value()

    return types.void(coarse, rows, first, tiles, tile, offsets, sums), emit
