"""Item to item: for each item its nearest ones by the users they share -> what is near to a user's likes.

Nearness of items i and j is g_ij / ((g_ii g_jj)^item_power + shrinkage), with g_ij the sum over the users of both of
like times like, divided by the sum of the user's likes to the power user_power. With item_power 0.5 and no shrinkage
that is the cosine (Sarwar et al. 2001). Shapes: B items of a block, I items, U users.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from models.base import F32, I64, Examples
from models.definition import Definition
from models.item_weights import NeighbourParams, NeighbourWeights, Weighing


class ItemToItemParams(NeighbourParams):
    item_power: float = Field(0.5, ge=0)
    """How much popular items are held back; 0.5 is the cosine."""
    user_power: float = Field(0.5, ge=0)
    """How much less each like of a user says who likes much."""
    shrinkage: float = Field(1.0, ge=0)
    """Added below the fraction: larger mistrusts what few users said."""


class ItemToItem(NeighbourWeights):
    """The nearest items of each liked item, by the users they share.

    Trains by one sparse product. Quick and easy to explain.

    Users: hot and warm ones by their history, also when they came after the training; a cold one gets what is
    popular. Items: hot and warm ones by the users they share with others, also when they came after the training; a
    cold one is not in the model.
    """

    name: ClassVar[str] = "item_to_item"
    params_type = ItemToItemParams

    @classmethod
    def weighing(cls, examples: Examples, params: ItemToItemParams) -> Weighing:
        """Nearness is the same both ways."""
        likes_UI = examples.histories.matrix(len(examples.item_ids))
        worth_U = np.asarray(likes_UI.sum(axis=1)) ** (-params.user_power / 2)
        likes_UI = likes_UI.multiply(worth_U[:, None]).tocsr().astype(np.float32)
        likes_IU = likes_UI.T.tocsr()
        norms_I = np.asarray(likes_UI.multiply(likes_UI).sum(axis=0), np.float32) ** params.item_power

        def near(block: I64) -> F32:
            shared_BI = (likes_IU[block] @ likes_UI).toarray()
            return np.asarray(shared_BI / (norms_I[block, None] * norms_I + params.shrinkage), np.float32)

        return Weighing(adds=near, gets=near)


MODEL = Definition(ItemToItem, ItemToItemParams, example_params={"neighbours": 11})
