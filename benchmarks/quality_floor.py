"""What a sequence model must beat to be worth its training: EASE and the item that came next, added up.

EASE (Steck 2019) says what is liked together, in closed form; the transition says what most often came right after a
user's last item. Shapes: I items, B users of a block.
"""

import numpy as np
from scipy.sparse import csr_array

from models.base import F32, I32, Examples, Strings
from training.dataset import Holdout

PULLS, SHARES = (100.0, 300.0, 1000.0), (0.1, 0.3, 1.0, 3.0)
USERS_PER_BLOCK = 1024


class TogetherAndNext:
    """Both tables for one set of examples; `pull` is EASE's regularisation."""

    def __init__(self, examples: Examples, pull: float) -> None:
        self.item_ids: Strings = examples.item_ids
        items, likes = len(examples.item_ids), examples.histories
        matrix = likes.matrix(items)
        together_II = (matrix.T @ matrix).toarray()
        together_II[np.diag_indices(items)] += pull
        inverse_II = np.linalg.inv(together_II)
        self.together_II: F32 = -inverse_II / np.diag(inverse_II)
        self.together_II[np.diag_indices(items)] = 0
        same = np.diff(likes.rows_N) == 0
        pairs = likes.items[:-1][same], likes.items[1:][same]
        counts = csr_array((np.ones(len(pairs[0]), np.float32), pairs), shape=(items, items))
        self.next_II = csr_array(counts.multiply(1 / np.maximum(counts.sum(axis=1), 1)[:, None]))

    def lists(self, judges: Holdout, share: float, k: int) -> I32:
        """T x K as indices into judges.item_ids; `share` is what the next item counts beside EASE."""
        index = judges.index_in(self.item_ids)
        back, known = np.flatnonzero(index >= 0), judges.histories.reindexed(index)
        blocks = []
        for start in range(0, len(known), USERS_PER_BLOCK):
            block = known.of(np.arange(start, min(start + USERS_PER_BLOCK, len(known))))
            seen = block.matrix(len(self.item_ids))
            scores_BI = seen @ self.together_II + share * self.next_II[block.items[block.indptr[1:] - 1]].toarray()
            scores_BI[seen.nonzero()] = -np.inf
            blocks.append(back[np.argsort(-scores_BI, axis=1, kind="stable")[:, :k]])
        return np.concatenate(blocks).astype(np.int32)
