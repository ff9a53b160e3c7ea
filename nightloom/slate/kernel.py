"""The inner loops of the slate rules, in numba: a user's places are filled one by one. Shapes as in arrays.py.

A limit's counters carry the page (or the user) they were last used on, so that nothing is set to zero between pages.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import numba
import numpy as np

OLD = np.int64(-1)


@numba.njit(cache=True, nogil=True)
def agree(indptr, values, items_BX, values_B, compare):
    """B x X bool: whether an item's values agree with its user's; compare: 0 contains, 1 at most, 2 at least."""
    keep_BX = np.empty(items_BX.shape, np.bool_)
    for b in range(items_BX.shape[0]):
        for x in range(items_BX.shape[1]):
            item = items_BX[b, x]
            begin, end = (indptr[item], indptr[item + 1]) if item >= 0 else (0, 0)
            keep = begin == end
            for n in range(begin, end):
                has, asked = values[n], values_B[b]
                keep |= has == asked if compare == 0 else has < asked if compare == 1 else has >= asked
            keep_BX[b, x] = keep
    return keep_BX


@numba.njit(cache=True, nogil=True)
def drop_repeated(items_BX, items):
    """B x X: the same with -1 where an item stands further left already."""
    once_BX, last_A = np.full(items_BX.shape, -1, np.int32), np.full(items, -1, np.int64)
    for b in range(items_BX.shape[0]):
        for x in range(items_BX.shape[1]):
            item = items_BX[b, x]
            if item >= 0 and last_A[item] != b:
                once_BX[b, x], last_A[item] = item, b
    return once_BX


@numba.njit(cache=True, nogil=True)
def drop_seen(items_BX, indptr, indices):
    """B x X: the same with -1 where the user has touched the item."""
    left_BX = items_BX.copy()
    for b in range(items_BX.shape[0]):
        for x in range(items_BX.shape[1]):
            for n in range(indptr[b], indptr[b + 1]):
                if indices[n] == items_BX[b, x]:
                    left_BX[b, x] = -1
                    break
    return left_BX


@numba.njit(nogil=True, forceinline=True)
def jaccard(indptr, values, one, other):
    """What two items have in common as a share of what they have together; 0 where neither has anything."""
    i, j, both = indptr[one], indptr[other], 0
    end_i, end_j = indptr[one + 1], indptr[other + 1]
    either = end_i - i + end_j - j
    while i < end_i and j < end_j:
        if values[i] == values[j]:
            both, i, j = both + 1, i + 1, j + 1
        elif values[i] < values[j]:
            i += 1
        else:
            j += 1
    return both / (either - both) if either > both else 0.0


@numba.njit(nogil=True, forceinline=True)
def _fits(item, limits, counts, pages):
    """Whether one more such item breaks no limit. pages: (this user, this page)."""
    indptr, groups, at_most_G, within_list_G = limits
    count_G, when_G = counts
    for n in range(indptr[item], indptr[item + 1]):
        group = groups[n]
        now = pages[0] if within_list_G[group] else pages[1]
        if (count_G[group] if when_G[group] == now else 0) >= at_most_G[group]:
            return False
    return True


@numba.njit(nogil=True, forceinline=True)
def _fits_page(item, limits, counts, pages):
    """As _fits(), without limits of whole lists: a pinned item is counted there already."""
    indptr, groups, at_most_G, within_list_G = limits
    count_G, when_G = counts
    for n in range(indptr[item], indptr[item + 1]):
        group = groups[n]
        if not within_list_G[group] and (count_G[group] if when_G[group] == pages[1] else 0) >= at_most_G[group]:
            return False
    return True


@numba.njit(nogil=True, forceinline=True)
def _count(item, limits, counts, pages, which):
    """Count an item in its groups; which: 0 those of pages, 1 those of whole lists, 2 both."""
    indptr, groups, _, within_list_G = limits
    count_G, when_G = counts
    for n in range(indptr[item], indptr[item + 1]):
        group = groups[n]
        if which != 2 and within_list_G[group] != (which == 1):
            continue
        now = pages[0] if within_list_G[group] else pages[1]
        count_G[group] = count_G[group] + 1 if when_G[group] == now else 1
        when_G[group] = now


@numba.njit(nogil=True, forceinline=True)
def _count_member(sets, item, has_S):
    """Count an item in each set that it is in."""
    for s in range(len(has_S)):
        has_S[s] += sets[0][s, item]


@numba.njit(nogil=True, forceinline=True)
def _choose(candidates, state, member_A, likeness, limits, counts, pages):
    """The best candidate that may stand here, -1 where there is none. An empty `member_A`: any free one.

    Candidates stand by falling value, and likeness only lowers it: a look at the first few is nearly always enough, and
    what an item has in common with the page is computed when it would be the best without.
    """
    relevance, value_indptr, values = likeness
    item_X, value_X, order_X, free_X = candidates
    used_X, near_X, done_X, page_K, ends = state
    best, best_value = -1, -np.inf
    while ends[0] < len(order_X) and (used_X[order_X[ends[0]]] or value_X[order_X[ends[0]]] == -np.inf):
        ends[0] += 1
    for place in range(ends[0], len(order_X)):
        x = order_X[place]
        if used_X[x] or value_X[x] == -np.inf or not (member_A[item_X[x]] if len(member_A) else free_X[x]):
            continue
        if relevance * value_X[x] <= best_value:
            break
        if relevance < 1:
            for n in range(done_X[x], ends[1]):
                near_X[x] = max(near_X[x], jaccard(value_indptr, values, item_X[page_K[n]], item_X[x]))
            done_X[x] = ends[1]
        value = relevance * value_X[x] - (1 - relevance) * near_X[x]
        if value > best_value and _fits(item_X[x], limits, counts, pages):
            best, best_value = x, value
    return best


@numba.njit(nogil=True, forceinline=True)
def _choose_reserved(candidates, state, sets, asked_S, has_S, here, room, left, likeness, limits, counts, pages):
    """The best candidate of a set that must have a place now, -1 where none must or is left. `left` places are free.

    A spread set has its n-th place at the n-th part of the page; any other waits until the page has no place to spare.
    """
    member_SA, _, spread_S = sets
    wanted = 0
    for s in range(len(has_S)):
        wanted += max(0, asked_S[s] - has_S[s])
    if wanted == 0:
        return -1
    for s in range(len(has_S)):
        behind = spread_S[s] and (here + 1) * asked_S[s] // room > has_S[s]
        if has_S[s] < asked_S[s] and (behind or wanted >= left):
            x = _choose(candidates, state, member_SA[s], likeness, limits, counts, pages)
            if x >= 0:
                return x
            wanted -= asked_S[s] - has_S[s]  # there are no more: others need not wait for them
            has_S[s] = asked_S[s]
    return -1


@numba.njit(nogil=True, forceinline=True)
def _place_pins(pinned_K, item_X, used_X, column_P, place_P, limits, counts, pages):
    """Note at which places of a list pinned candidates stand, and count them in the limits of whole lists."""
    for p in range(len(place_P)):
        x = column_P[p]
        if x >= 0 and pinned_K[place_P[p]] < 0 and not used_X[x] and _fits(item_X[x], limits, counts, pages):
            pinned_K[place_P[p]], used_X[x] = x, True
            _count(item_X[x], limits, counts, pages, 1)


@numba.njit(nogil=True, forceinline=True)
def _count_pins(pinned_K, begin, room, item_X, sets, has_S, limits, counts, pages):
    """Count a page's pinned candidates before its other places are filled -> how many stand; the others may not."""
    standing = 0
    for place in range(begin, begin + room):
        x = pinned_K[place]
        if x >= 0 and _fits_page(item_X[x], limits, counts, pages):
            _count(item_X[x], limits, counts, pages, 0)
            _count_member(sets, item_X[x], has_S)
            standing += 1
        else:
            pinned_K[place] = -1
    return standing


@numba.njit(nogil=True, forceinline=True)
def _fill_list(list_K, candidates, state, column_P, place_P, places_S, k, limits, counts, sets, likeness, b):
    """Fill one user's list, page by page."""
    item_X, length, anything = candidates[0], len(list_K), np.zeros(0, np.bool_)
    used_X, near_X, done_X, page_K, ends = state
    pinned_K, has_S = np.full(length, -1, np.int64), np.zeros(len(places_S), np.int64)
    asked_S, room, ahead = places_S, 0, 0  # of a page: reserved places, places, pinned candidates still to come
    pages = (np.int64(b), np.int64(b) * length)
    _place_pins(pinned_K, item_X, used_X, column_P, place_P, limits, counts, pages)
    for place in range(length):
        here = place % k
        if here == 0:
            pages = (np.int64(b), np.int64(b) * length + place)
            room = min(k, length - place)
            asked_S = places_S * room // k
            near_X[:], done_X[:], has_S[:], ends[1] = 0, 0, 0, 0
            ahead = _count_pins(pinned_K, place, room, item_X, sets, has_S, limits, counts, pages)
        x = pinned_K[place]
        if x >= 0:
            ahead -= 1
        else:
            left = room - here - ahead
            x = _choose_reserved(
                candidates, state, sets, asked_S, has_S, here, room, left, likeness, limits, counts, pages
            )
            if x < 0:
                x = _choose(candidates, state, anything, likeness, limits, counts, pages)
            if x < 0:
                break
            used_X[x] = True
            _count(item_X[x], limits, counts, pages, 2)
            _count_member(sets, item_X[x], has_S)
        list_K[place] = x
        page_K[ends[1]] = x
        ends[1] += 1


@numba.njit(cache=True, nogil=True)
def fill(items_BX, value_BX, order_BX, free_X, length, k, limits, sets, pins, likeness):
    """B x length columns of the candidates, -1 where the list has ended.

    value_BX is -inf where an item may not be shown; free_X says which columns may take any place, and not just one that
    is reserved for a set they are in. limits: (indptr, groups, at_most_G, within_list_G); sets: (member_SA, places_BS,
    spread_S); pins: (column_BP, place_P), column -1: not for this user; likeness: (relevance, indptr, values).
    """
    (B, X), (column_BP, place_P) = items_BX.shape, pins
    counts = np.zeros(len(limits[2]), np.int32), np.full(len(limits[2]), OLD)
    lists_BK = np.full((B, length), -1, np.int32)
    for b in range(B):
        candidates = items_BX[b], value_BX[b], order_BX[b], free_X
        used_X, near_X, done_X = np.zeros(X, np.bool_), np.zeros(X), np.zeros(X, np.int64)
        page_K, ends = np.zeros(k, np.int64), np.zeros(2, np.int64)  # ends: first candidate left, items on the page
        state = used_X, near_X, done_X, page_K, ends
        _fill_list(
            lists_BK[b], candidates, state, column_BP[b], place_P, sets[1][b], k, limits, counts, sets, likeness, b
        )
    return lists_BK
