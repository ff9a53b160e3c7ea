"""Graph filter: likes, smoothed over the graph of items that share users -> the items that a like says most for.

Items are joined by every user of both: A = N R' V R N, with R the likes of U users, V the users' degrees to the power
-user_power, N the items' degrees to the power -item_power, scaled so that A's largest eigenvalue is 1. A like of item i
says n_i (f_ij / (1 - f_jj) + trend_weight t_ij) l_j for item j. F = f(A), f(a) = a / (a + sharpness): what many likes
agree on passes, what few say is held back. T = Q Q', Q the eigenvectors of A's largest eigenvalues, lets only the
broadest trends pass: the ideal low-pass of GF-CF (Shen et al. 2021). l_j, an item's degree to the power lift, gives
popular items back what N took, as in ChebyCF (Kim et al. 2025).
Without trends, and with lift = item_power, that is EASE (Steck 2019), its zero diagonal too, with a pull of degree^(2
item_power) and users who count unequally. f is applied as a Chebyshev polynomial of A, as ChebyCF does with another f,
to a block of items at a time: no I x I array is ever whole.
Shapes: B items of a block, I items, U users, T trends.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.polynomial.chebyshev import chebinterpolate
from pydantic import Field
from scipy.sparse import csr_array

from models.base import F32, I64, Examples
from models.definition import Definition
from models.item_weights import NeighbourParams, NeighbourWeights, Weighing

PROBES = 256  # vectors of random signs
SPARE, ROUNDS = 32, 6  # vectors beyond the trends asked for, and times that all are turned towards the trends


class GraphParams(NeighbourParams):
    item_power: float = Field(0.2, ge=0)
    """How much popular items are held back: 0 not at all, 0.5 as in a normalised graph."""
    user_power: float = Field(0.2, ge=0)
    """How much less each like of a user says who likes much: 0 as much as any, 1 all users say the same in sum."""
    sharpness: float = Field(0.05, gt=0)
    """Smaller lets finer differences between items pass, and takes longer to train."""
    lift: float = Field(0.0, ge=0)
    """How much popular items are given back of what item_power takes; item_power gives back all of it."""
    trends: int = Field(0, ge=0)
    """How many of the broadest trends in taste are counted once more; 0 none."""
    trend_weight: float = Field(0.2, ge=0)
    """How much they count beside the rest."""
    neighbours: int = Field(500, ge=1)
    """Items kept for each item, those that a like of it says most for."""


class Graph(NeighbourWeights):
    """Likes smoothed over the graph of items that share users: as EASE, without the matrix of all items by all items.

    Trains by sparse products. Good for sparse data and tens of thousands of items. Four numbers shape the filter:
    `sharpness`, how fine the differences are that pass; `user_power` and `item_power`, how much less busy users and
    popular items count; `lift`, how much of the latter popular items get back. With `trends`, the broadest trends of
    taste are counted once more (the ideal low-pass of GF-CF and ChebyCF): they help where what comes next is unlike the
    last likes, other places or another season, and cost some seconds of training: `trends = 512` with `user_power =
    0.5`, `item_power = 0.35`, `sharpness = 0.25`, `lift = 0.25` and `neighbours = 1000`.

    Users: hot and warm ones by their history, also when they came after the training; a cold one gets what is
    popular. Items: hot and warm ones by the users they share with others, also when they came after the training; a
    cold one is not in the model.
    """

    name: ClassVar[str] = "graph"
    params_type = GraphParams

    @classmethod
    def weighing(cls, examples: Examples, params: GraphParams) -> Weighing:
        """The filter of a block's items, and their trends."""
        items = len(examples.item_ids)
        likes_UI = examples.histories.matrix(items)
        degrees_U, degrees_I = np.asarray(likes_UI.sum(axis=1)), np.asarray(likes_UI.sum(axis=0))
        held_I = np.asarray(degrees_I**-params.item_power, np.float32)
        worth_UI = likes_UI.multiply(held_I).multiply(degrees_U[:, None] ** (-params.user_power / 2)).tocsr()
        edges_UI = (worth_UI / math.sqrt(largest_eigenvalue(worth_UI))).astype(np.float32)
        edges_IU, factors = edges_UI.T.tocsr(), polynomial(params.sharpness)

        def passed(signal_IB: F32) -> F32:
            return filtered(edges_UI, edges_IU, factors, signal_IB)

        others_I = 1 - np.minimum(diagonal(passed, items, examples.seed), 1 / (1 + params.sharpness))
        lifted_I = np.asarray(degrees_I**params.lift, np.float32)
        trends_IT = broadest(edges_UI, edges_IU, params.trends, examples.seed)
        weighed_TI = np.float32(params.trend_weight) * trends_IT.T

        def filtered_block(block: I64) -> F32:
            ones_IB = np.zeros((items, len(block)), np.float32)
            ones_IB[block, np.arange(len(block))] = 1
            return passed(ones_IB).T

        def adds(block: I64) -> F32:
            weights_BI = filtered_block(block) / others_I + trends_IT[block] @ weighed_TI
            return np.asarray(weights_BI * held_I[block, None] * lifted_I, np.float32)

        def gets(block: I64) -> F32:
            weights_BI = filtered_block(block) / others_I[block, None] + trends_IT[block] @ weighed_TI
            return np.asarray(weights_BI * held_I * lifted_I[block, None], np.float32)

        return Weighing(adds, gets)


def diagonal(passed: Callable[[F32], F32], items: int, seed: int) -> F32:
    """f_jj of every item: exact where items are few, else the mean of z f(A) z, z random signs (Hutchinson 1990)."""
    if items <= PROBES:
        return np.diag(passed(np.eye(items, dtype=np.float32)))
    signs_IB = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), (items, PROBES))
    return np.asarray((signs_IB * passed(signs_IB)).mean(axis=1), np.float32)


def broadest(edges_UI: csr_array, edges_IU: csr_array, trends: int, seed: int) -> F32:
    """Q, I x T: orthonormal eigenvectors of A with the largest eigenvalues, by subspace iteration (Halko et al. 2011).

    Fewer where A has fewer. The last ones are mixed with the next below: both are about as broad.
    """
    items = edges_IU.shape[0]
    if not trends:
        return np.zeros((items, 0), np.float32)
    start_IT = np.random.default_rng(seed).standard_normal((items, min(trends + SPARE, items)), np.float32)
    found_IT = np.linalg.qr(start_IT)[0]
    for _ in range(ROUNDS):
        found_IT = np.linalg.qr(edges_IU @ (edges_UI @ found_IT))[0]
    seen_UT = edges_UI @ found_IT
    values_T, turned_TT = np.linalg.eigh(seen_UT.T @ seen_UT)
    best_T = np.flatnonzero(values_T > 1e-5)[-trends:]
    return np.asarray(found_IT @ turned_TT[:, best_T], np.float32)


def filtered(edges_UI: csr_array, edges_IU: csr_array, factors: list[np.float32], signal_IB: F32) -> F32:
    """f(A) signal, A = edges' edges, by T_n+1(t) = 2 t T_n(t) - T_n-1(t) with t = 2 a - 1 in [-1, 1]."""
    last_IB, this_IB = signal_IB.copy(), 2 * (edges_IU @ (edges_UI @ signal_IB)) - signal_IB
    total_IB = factors[0] * last_IB + factors[1] * this_IB
    for factor in factors[2:]:
        next_IB = edges_IU @ (edges_UI @ this_IB)
        next_IB *= 4
        next_IB -= last_IB
        spare_IB = last_IB  # written over: these arrays are larger than the caches
        next_IB -= np.multiply(this_IB, 2, out=spare_IB)
        total_IB += np.multiply(next_IB, factor, out=spare_IB)
        last_IB, this_IB = this_IB, next_IB
    return np.asarray(total_IB, np.float32)


def polynomial(sharpness: float, accuracy: float = 0.005) -> list[np.float32]:
    """Chebyshev factors of f over [0, 1]. They fall as rho^-n, with rho from how near f's pole, -sharpness, is."""
    rho = 1 + 2 * sharpness + 2 * math.sqrt(sharpness * (1 + sharpness))
    terms = math.ceil(math.log(1 / accuracy) / math.log(rho))

    def f(t: Any) -> Any:
        a = (t + 1) / 2
        return a / (a + sharpness)

    return [np.float32(factor) for factor in chebinterpolate(f, max(1, terms))]


def largest_eigenvalue(edges_UI: csr_array, rounds: int = 30) -> float:
    """Of edges' edges, by power iteration: no entry is negative, so a start of ones cannot miss it."""
    vector_I, size = np.ones(edges_UI.shape[1]), 1.0
    for _ in range(rounds):
        vector_I = edges_UI.T @ (edges_UI @ vector_I)
        size = float(np.linalg.norm(vector_I))
        vector_I /= size
    return size


MODEL = Definition(Graph, GraphParams, example_params={"sharpness": 0.3})
