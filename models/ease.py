"""EASE: every item predicted from all others by one ridge regression, in closed form -> an item x item matrix.

Minimises |V^1/2 (R - R B)|^2 + regularisation |N^-1 B|^2 with B's diagonal held at zero (Steck 2019): an item must not
predict itself. R are the likes, V the users' degrees to the power -user_power, N the items' to the power -item_power;
0 and 0 are Steck's own. B = I - P / diag(P), P = (R' V R + regularisation N^-2)^-1. Shapes: B users, I items.
"""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.linalg import lapack
from scipy.sparse import csr_array

from models.base import F32, Examples, Report
from models.definition import Definition
from models.item_weights import ItemWeights, ItemWeightsParams
from nightloom.errors import SettingsError

GIB, ROWS_PER_BLOCK = 2**30, 1024


class EASEParams(ItemWeightsParams):
    regularisation: float = Field(100.0, gt=0)
    """Pull to zero, in likes; larger for few data."""
    item_power: float = Field(0.0, ge=0)
    """How much stronger the pull is on popular items."""
    user_power: float = Field(0.0, ge=0)
    """How much less each like of a user says who likes much."""
    memory_gib: float = Field(4.0, gt=0)
    """The largest item x item matrix that may be made: 4 GiB is 32,768 items."""


class EASE(ItemWeights):
    """Each item predicted from all others by one ridge regression (Steck 2019).

    Trains by one inverse, with a matrix of items² x 4 bytes. Good for up to some 30,000 items.

    Users: hot and warm ones by their history, also when they came after the training; a cold one gets what is
    popular. Items: hot and warm ones by the users they share with others; a cold one is not in the model.
    """

    name: ClassVar[str] = "ease"
    params_type = EASEParams

    @classmethod
    def fit(cls, examples: Examples, params: EASEParams, report: Report) -> Self:
        """One inverse, in place; nothing to report. Raises SettingsError where the matrix would be too large."""
        items = len(examples.item_ids)
        if items**2 * 4 > params.memory_gib * GIB:
            raise SettingsError(
                f"models: ease: {items:,} items need a matrix of {items**2 * 4 / GIB:.1f} GiB, and params.memory_gib "
                f"is {params.memory_gib:g}; raise it where there is memory, or use graph, the same without the matrix"
            )
        likes_UI = examples.histories.matrix(items)
        return cls.of(params, examples, weights(likes_UI, params))


def weights(likes_UI: csr_array, params: EASEParams) -> F32:
    """B, from the Gram matrix to the inverse to the weights in one and the same memory."""
    degrees_U, degrees_I = np.asarray(likes_UI.sum(axis=1)), np.asarray(likes_UI.sum(axis=0))
    worth_IU = likes_UI.multiply(degrees_U[:, None] ** -params.user_power).T.tocsr()
    matrix_II = np.empty((len(degrees_I), len(degrees_I)), np.float32)
    blocks = [slice(start, start + ROWS_PER_BLOCK) for start in range(0, len(degrees_I), ROWS_PER_BLOCK)]
    for rows in blocks:
        matrix_II[rows] = (worth_IU[rows] @ likes_UI).toarray()
    diagonal_I = np.einsum("ii->i", matrix_II)  # a view
    diagonal_I += np.float32(params.regularisation) * degrees_I ** np.float32(2 * params.item_power)
    # LAPACK counts in columns, so it is given the transposed view, which it overwrites: its lower half, our upper one.
    _, failed = lapack.spotrf(matrix_II.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise SettingsError(
            f"models: ease: regularisation {params.regularisation:g} is too small for float32; raise it"
        )
    lapack.spotri(matrix_II.T, lower=1, overwrite_c=1)
    for rows in blocks:
        matrix_II[rows, : rows.start] = matrix_II[: rows.start, rows].T
        own = np.tril_indices(len(matrix_II[rows]), -1)
        matrix_II[rows, rows][own] = matrix_II[rows, rows].T[own]
    matrix_II /= -diagonal_I.copy()
    diagonal_I[:] = 0
    return matrix_II


MODEL = Definition(EASE, EASEParams, example_params={"regularisation": 1.0})
