"""The inner loops of nightloom.topk: a coarse product leaves few items of a user to score exactly; the best are kept.

Items come sorted by the largest score that they could have, falling. `_multiply` scores some users and a tile of items
by u' and v', what nightloom.topk.operands holds of them; that is wrong by no more than
    |u.v - u'.v'| <= |u| |v - v'| + |u - u'| |v'|
so that an item below the user's K-th best by more than this and rounding is in no list; `_hits` has a bit for each
other one. Those are scored in float64 and rounded to float32, added up in one order: alone or with others, on one
thread or many, a user gets the same list. A key is an int64, score above, id below: one comparison says which item is
better, no two are equal. A full buffer of keys drops those below its k-th best.

`_multiply` and `_hits` are in LLVM's language: numba would not keep their sums in registers. All that is compiled into
one another is in this file, since numba's cache looks at no other one. Shapes: B users, S sorted items, I items, D
factors, T tiles, C blocks of tiles, K list length, N places of a buffer.
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
intrinsic: Any = extending.intrinsic  # typed as if it took its first argument from the caller
USERS = 6  # multiplied at once: their sums fill the registers that items leave
NOTHING = np.int64(np.iinfo(np.int64).min)  # below the key of every score
LOW = np.int64(0xFFFFFFFF)
LOWEST = np.float32(-3e38)  # below every score
ROUNDING, TINY = 2.0**-21, 2.0**-120
"""More than float32 loses of a score, relative to the largest that it could be; and where float32 underflows."""
GROUPS_PER_K, DEPTH = 4, 4
"""For a first K-th best: groups of items, and items in a group."""
SIEVE = 1024  # bits


class Given(NamedTuple):
    """What is excluded, each user's items ascending; an item's place among the sorted; places by bias, then id."""

    indptr: I64
    indices: I64
    place_I: I64
    by_bias_S: I64


class _Seen(NamedTuple):
    """The excluded items of all users, each user's ascending, and for each bits that tell most others apart."""

    indptr: I64
    indices: I64
    sieve_BW: Words


class _Best(NamedTuple):
    """The best found so far: `count` keys of a user, in any order; a key up to `floor` is in no list."""

    keys_BN: I64
    count_B: I64
    floor_B: I64


@numba.njit(cache=True, nogil=True)
def screened(users: Users, items: Items, given: Given, k: int) -> I64:
    """The keys of each user's k best items, B x K, in any order; NOTHING where none is left. k: at most S."""
    count = len(users.norm_B)
    seen, best = _sieved(given.indptr, given.indices), _nothing_yet(count, k)
    cut_B = _first_cut(users, items, given.place_I, seen, k, best.floor_B)
    _zeros(users, items, given.by_bias_S, seen, k, best, cut_B)
    rows, factor_B, cuts_B = np.empty(count + USERS, np.int64), np.empty(count, np.float32), np.empty(count, np.float32)
    sums, words = np.empty((USERS, TILE), users.start_B.dtype), np.empty((USERS, BLOCK), np.uint64)
    found, better = np.empty(BLOCK * TILE, np.int64), np.empty(BLOCK * TILE + 1, np.int64)
    for c in range(len(items.scale_C)):
        begin, end = c * BLOCK, min((c + 1) * BLOCK, len(items.tiles_TX))
        active = 0
        for b in range(count):
            slack = ROUNDING * (users.norm_B[b] * items.norm_C[c] + items.size_C[c]) + TINY
            error = users.norm_B[b] * items.residual_C[c] + users.residual_B[b] * items.held_C[c]
            factor_B[b] = users.scale_B[b] * items.scale_C[c]
            cuts_B[b] = max(cut_B[b] - error - slack, LOWEST)
            rows[active] = b
            active += users.norm_B[b] * items.norm_C[c] + items.bias_C[c] + slack >= cut_B[b]
        rows[active : active + USERS] = rows[max(active - 1, 0)]
        for first in range(0, active, USERS):
            for tile in range(begin, end):
                _multiply(users.held_BX, rows, first, items.tiles_TX, tile, users.start_B, sums)
                for m in range(USERS):
                    b = rows[first + m]
                    words[m, tile - begin] = _hits(sums, m, factor_B[b], items.bias_S, tile, cuts_B[b])
            for m in range(min(USERS, active - first)):
                b = rows[first + m]
                hits = _positions(words, m, begin, end, found)
                number = _scored(users.rows_BD, b, items, found, hits, best.floor_B[b], better)
                if _offer(better, number, seen, b, best, k):
                    cut_B[b] = _score_of(best.floor_B[b])
    return _keys_of(best, k)


@numba.njit(cache=True, nogil=True)
def best_of_rows(scores_BI: F32, allowed_I: NDArray[np.bool_], indptr: I64, indices: I64, k: int) -> I64:
    """The keys of the k best items of each row, B x K, in any order; NOTHING where none is left."""
    users, items = scores_BI.shape
    seen, best = _sieved(indptr, indices), _nothing_yet(users, k)
    keys = np.empty(TILE, np.int64)
    for b in range(users):
        lowest = np.float32(-np.inf)
        for first in range(0, items, TILE):
            some, allowed = scores_BI[b, first : first + TILE], allowed_I[first : first + TILE]
            hits, number = np.int32(0), 0
            for score in some:
                hits += np.int32(score >= lowest)
            for n in range(len(some) if hits else 0):
                keys[number] = _key_of(some[n], np.int64(first + n))
                number += allowed[n] and some[n] >= lowest
            if _offer(keys, number, seen, b, best, k):
                lowest = _score_of(best.floor_B[b])
    return _keys_of(best, k)


@numba.njit(nogil=True, forceinline=True)
def _positions(words: Words, m: int, begin: int, end: int, found: I64) -> int:
    """Where the hits of a block are, ascending, into `found`; how many."""
    hits = 0
    for tile in range(begin, end):
        word = words[m, tile - begin]
        while word != 0:
            found[hits] = tile * TILE + _trailing_zeros(word)
            hits += 1
            word &= word - np.uint64(1)
    return hits


@numba.njit(nogil=True, forceinline=True, fastmath={"reassoc", "contract"})
def _scored(rows_BD: F32, b: int, items: Items, found: I64, hits: int, floor: int, better: I64) -> int:
    """The keys above `floor`, into `better`; how many."""
    number = 0
    for n in range(hits):
        s = found[n]
        total = np.float64(0)
        for d in range(rows_BD.shape[1]):
            total += np.float64(rows_BD[b, d]) * np.float64(items.rows_SD[s, d])
        better[number] = _key_of(np.float32(total + np.float64(items.bias_S[s])), items.ids_S[s])
        number += better[number] > floor
    return number


@numba.njit(nogil=True)
def _first_cut(users: Users, items: Items, place_I: I64, seen: _Seen, k: int, floor_B: I64) -> F64:
    """Each user's k-th best score is at least this: more than k groups of the first items have one as good.

    The best of each group of items, by the screen less its error; each of the user's seen items spoils one at most.
    """
    count, groups = len(floor_B), -(-GROUPS_PER_K * k // TILE) * TILE
    depth = min(DEPTH, len(items.ids_S) // groups)
    cut_B = np.full(count, -np.inf)
    rows = np.minimum(np.arange(count + USERS), count - 1)
    sums, best_MG = np.empty((USERS, TILE), users.start_B.dtype), np.empty((USERS, groups), np.float32)
    for first in range(0, count if depth else 0, USERS):
        best_MG[:] = LOWEST
        for tile in range(depth * groups // TILE):
            _multiply(users.held_BX, rows, first, items.tiles_TX, tile, users.start_B, sums)
            c, group = tile // BLOCK, tile * TILE % groups
            for m in range(USERS):
                b = rows[first + m]
                error = users.norm_B[b] * items.residual_C[c] + users.residual_B[b] * items.held_C[c]
                factor, less = np.float32(users.scale_B[b] * items.scale_C[c]), np.float32(error)
                best_G, own, bias = best_MG[m, group : group + TILE], sums[m], items.bias_S[tile * TILE :]
                for lane in range(TILE):
                    score = np.float32(own[lane]) * factor + bias[lane] - less
                    best_G[lane] = score if score > best_G[lane] else best_G[lane]
        for b in range(first, min(first + USERS, count)):
            others = 0
            for n in range(seen.indptr[b], seen.indptr[b + 1]):
                others += place_I[seen.indices[n]] < depth * groups
            if k + others <= groups:
                slack = 4 * ROUNDING * (users.norm_B[b] * items.norm_C.max() + items.size_C.max()) + TINY
                cut_B[b] = np.float32(np.float64(_about_kth(best_MG[b - first], k + others)) - slack)
                floor_B[b] = _key_of(np.float32(cut_B[b]), LOW)
    return cut_B


@numba.njit(nogil=True)
def _zeros(users: Users, items: Items, by_bias_S: I64, seen: _Seen, k: int, best: _Best, cut_B: F64) -> None:
    """Users of whom nothing is known, whose scores are the biases: the first that they have not seen, and no screen."""
    for b in range(len(cut_B)):
        if users.norm_B[b] > 0:
            continue
        cut_B[b] = np.inf
        for s in by_bias_S:
            if best.count_B[b] == k:
                break
            if not _excluded(seen, b, items.ids_S[s]):
                best.keys_BN[b, best.count_B[b]] = _key_of(items.bias_S[s], items.ids_S[s])
                best.count_B[b] += 1


@numba.njit(nogil=True, forceinline=True)
def _key_of(score: np.float32, item: np.integer) -> np.int64:
    same = np.float32(score + np.float32(0))  # -0.0 becomes 0.0: they are equal, so must be their bits
    bits = np.int64(same.view(np.int32))
    ordered = bits ^ 0x7FFFFFFF if bits < 0 else bits  # the integer order of floats of either sign
    return np.int64((ordered << 32) | (LOW - item))


@numba.njit(nogil=True, forceinline=True)
def _score_of(key: np.int64) -> np.float32:
    ordered = np.int32(key >> 32)
    return np.float32(np.int32(ordered ^ np.int32(0x7FFFFFFF) if ordered < 0 else ordered).view(np.float32))


@numba.njit(nogil=True)
def _sieved(indptr: I64, indices: I64) -> _Seen:
    sieve_BW = np.zeros((len(indptr) - 1, SIEVE // 64), np.uint64)
    for b in range(len(sieve_BW)):
        for n in range(indptr[b], indptr[b + 1]):
            bit = np.uint64(indices[n]) % np.uint64(SIEVE)
            sieve_BW[b, bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
    return _Seen(indptr, indices, sieve_BW)


@numba.njit(nogil=True, forceinline=True)
def _excluded(seen: _Seen, b: int, item: np.integer) -> bool:
    bit = np.uint64(item) % np.uint64(SIEVE)
    if not (seen.sieve_BW[b, bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
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
def _nothing_yet(users: int, k: int) -> _Best:
    keys_BN = np.empty((users, 2 * k + 32), np.int64)
    return _Best(keys_BN, np.zeros(users, np.int64), np.full(users, NOTHING, np.int64))


@numba.njit(nogil=True, forceinline=True)
def _offer(keys: I64, number: int, seen: _Seen, b: int, best: _Best, k: int) -> bool:
    """The first `number` of `keys`, unless their items are excluded; true where the floor has risen."""
    risen = False
    for n in range(number):
        if keys[n] > best.floor_B[b] and not _excluded(seen, b, LOW - (keys[n] & LOW)):
            best.keys_BN[b, best.count_B[b]] = keys[n]
            best.count_B[b] += 1
            if best.count_B[b] == best.keys_BN.shape[1]:
                _thin(best, b, k, k // 8)
                risen = True
    return risen


@numba.njit(nogil=True)
def _thin(best: _Best, b: int, k: int, more: int) -> None:
    """Drop all but the k best and at most `more`; k is at most the number of keys."""
    keys, kept = best.keys_BN[b, : best.count_B[b]], best.count_B[b]
    low, high = keys.min(), keys.max() + 1  # more than k are >= low, fewer than k >= high
    while kept > k + more:
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        above = 0
        for key in keys:
            above += key >= middle
        if above >= k:
            low, kept = middle, above
        else:
            high = middle
    number = 0
    for key in keys:
        keys[number] = key
        number += key >= low
    best.count_B[b], best.floor_B[b] = kept, low - 1


@numba.njit(nogil=True)
def _keys_of(best: _Best, k: int) -> I64:
    """B x K, in any order; NOTHING where a user has fewer."""
    keys_BK = np.full((len(best.count_B), k), NOTHING, np.int64)
    for b in range(len(keys_BK)):
        if best.count_B[b] > k:
            _thin(best, b, k, 0)
        keys_BK[b, : best.count_B[b]] = best.keys_BN[b, : best.count_B[b]]
    return keys_BK


@numba.njit(nogil=True)
def _about_kth(numbers: F32, k: int) -> np.float32:
    """At least k of the numbers are as large as this, and little more."""
    low = high = numbers[0]
    for number in numbers:
        low, high = number if number < low else low, number if number > high else high
    for _ in range(10):
        middle = np.float32(0.5) * (low + high)
        above = np.int32(0)
        for number in numbers:
            above += np.int32(number >= middle)
        if above >= k:
            low = middle
        else:
            high = middle
    return np.float32(low)


_SIZE, _NUMBERS = ir.IntType(64), ir.VectorType(ir.FloatType(), WIDTH)


class _Array:
    """A numba array as LLVM sees it: elements, or vectors of them, at an index into all of it."""

    def __init__(self, target: Any, builder: Any, kind: Any, value: Any, element: Any = None) -> None:
        made = target.make_array(kind)(target, builder, value)
        self.builder, self.data = builder, made.data
        self.element = element or target.get_data_type(kind.dtype)
        self.columns = builder.extract_value(made.shape, kind.ndim - 1)

    def _at(self, index: Any, element: Any) -> Any:
        return self.builder.gep(self.builder.bitcast(self.data, element.as_pointer()), [index])

    def load(self, index: Any, element: Any = None) -> Any:
        return self.builder.load(self._at(index, element or self.element))

    def vector(self, index: Any) -> Any:
        kind = ir.VectorType(self.element, WIDTH)
        return self.builder.load(self.builder.bitcast(self._at(index, self.element), kind.as_pointer()), align=4)

    def keep(self, vector: Any, index: Any) -> None:
        self.builder.store(
            vector, self.builder.bitcast(self._at(index, self.element), vector.type.as_pointer()), align=4
        )


def _place(builder: Any, index: Any, size: int, plus: int) -> Any:
    return builder.add(builder.mul(index, ir.Constant(_SIZE, size)), ir.Constant(_SIZE, plus))


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    """The same number in every lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    nowhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), nowhere)


@intrinsic
def _trailing_zeros(context: Any, word: Any) -> Any:
    def emit(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@intrinsic
def _hits(context: Any, sums: Any, row: Any, factor: Any, bias: Any, tile: Any, cut: Any) -> Any:
    """A bit for each item of a tile: factor * sum + bias >= cut."""

    def emit(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums, bias = (_Array(target, builder, signature.args[n], values[n]) for n in (0, 3))
        factors, cuts = (_spread(builder, values[n], _NUMBERS) for n in (2, 5))
        kind = ir.FunctionType(_NUMBERS, [_NUMBERS] * 3)
        fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{WIDTH}f32")
        word = ir.Constant(_SIZE, 0)
        for lane in range(0, TILE, WIDTH):
            total = sums.vector(_place(builder, values[1], TILE, lane))
            number = total if sums.element == ir.FloatType() else builder.sitofp(total, _NUMBERS)
            score = builder.call(fused, [number, factors, bias.vector(_place(builder, values[4], TILE, lane))])
            passed = builder.bitcast(builder.fcmp_ordered(">=", score, cuts), ir.IntType(WIDTH))
            word = builder.or_(word, builder.shl(builder.zext(passed, _SIZE), ir.Constant(_SIZE, lane)))
        return word

    return types.uint64(sums, row, types.float32, bias, tile, types.float32), emit


@intrinsic
def _multiply(context: Any, held: Any, rows: Any, first: Any, tiles: Any, tile: Any, start: Any, sums: Any) -> Any:
    """start + u'.v' of USERS users, rows[first:], and the items of a tile, into `sums`."""
    integers = held.dtype == types.int8

    def emit(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        element = ir.IntType(32) if integers else ir.FloatType()
        vector = ir.VectorType(element, WIDTH)
        name = f"llvm.x86.avx512.vpdpbusd.{WIDTH * 32}" if integers else f"llvm.fmuladd.v{WIDTH}f32"
        multiply_add = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        held, rows, tiles, start, sums = (
            _Array(target, builder, signature.args[n], values[n], element) for n in (0, 1, 3, 5, 6)
        )
        steps = builder.udiv(held.columns, ir.Constant(_SIZE, 4 if integers else 1))
        users = [rows.load(_place(builder, values[2], 1, m), _SIZE) for m in range(USERS)]
        vectors = [builder.mul(user, steps) for user in users]
        for strip in range(0, TILE, STRIP):
            totals = [[cgutils.alloca_once(builder, vector) for _ in range(REGISTERS)] for _ in range(USERS)]
            for user, registers in zip(users, totals, strict=True):
                for register in registers:
                    builder.store(_spread(builder, start.load(user), vector), register)
            begin = builder.mul(_place(builder, values[4], TILE, strip), steps)
            with cgutils.for_range(builder, steps) as loop:
                here = builder.add(begin, builder.mul(loop.index, ir.Constant(_SIZE, STRIP)))
                items = [tiles.vector(_place(builder, here, 1, n * WIDTH)) for n in range(REGISTERS)]
                for own, registers in zip(vectors, totals, strict=True):
                    factors = _spread(builder, held.load(builder.add(own, loop.index)), vector)
                    for register, item in zip(registers, items, strict=True):
                        total = builder.load(register)
                        operands = [total, item, factors] if integers else [item, factors, total]
                        builder.store(builder.call(multiply_add, operands), register)
            for m, registers in enumerate(totals):
                for n, register in enumerate(registers):
                    sums.keep(builder.load(register), ir.Constant(_SIZE, m * TILE + strip + n * WIDTH))
        return target.get_dummy_value()

    return types.void(held, rows, first, tiles, tile, start, sums), emit
