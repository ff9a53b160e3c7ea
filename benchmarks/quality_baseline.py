"""The baseline that a sequence model must beat to be worth its training: EASE plus item-to-item transitions.

EASE (Steck, 2019, WWW) is a linear item-to-item model in closed form. The transition matrix holds the share of each
item among those that came right after a user's last item. Shapes: T users, I items, B users of a block, K list length.
"""

import numpy as np
from scipy.sparse import csr_array

from models.base import F32, I32, Examples, Strings
from training.dataset import Holdout

REGULARISATIONS, TRANSITION_WEIGHTS = (100.0, 300.0, 1000.0), (0.1, 0.3, 1.0, 3.0)
USERS_PER_BLOCK = 1024


class EaseWithTransitions:
    """Both matrices, trained on one set of examples; `regularisation` is EASE's."""

    def __init__(self, examples: Examples, regularisation: float) -> None:
        self.item_ids: Strings = examples.item_ids
        items, likes = len(examples.item_ids), examples.histories
        matrix = likes.matrix(items)
        gram_II = (matrix.T @ matrix).toarray()
        gram_II[np.diag_indices(items)] += regularisation
        inverse_II = np.linalg.inv(gram_II)
        self.weights_II: F32 = -inverse_II / np.diag(inverse_II)
        self.weights_II[np.diag_indices(items)] = 0
        same_user = np.diff(likes.rows_N) == 0
        pairs = likes.items[:-1][same_user], likes.items[1:][same_user]
        counts = csr_array((np.ones(len(pairs[0]), np.float32), pairs), shape=(items, items))
        self.transitions_II = csr_array(counts.multiply(1 / np.maximum(counts.sum(axis=1), 1)[:, None]))

    def lists(self, holdout: Holdout, transition_weight: float, k: int) -> I32:
        """T x K as indices into holdout.item_ids; EASE's scores have weight 1."""
        index = holdout.index_in(self.item_ids)
        holdout_index, histories = np.flatnonzero(index >= 0), holdout.histories.reindexed(index)
        blocks = []
        for start in range(0, len(histories), USERS_PER_BLOCK):
            block = histories.of(np.arange(start, min(start + USERS_PER_BLOCK, len(histories))))
            seen = block.matrix(len(self.item_ids))
            transitions_BI = self.transitions_II[block.items[block.indptr[1:] - 1]].toarray()
            scores_BI = seen @ self.weights_II + transition_weight * transitions_BI
            scores_BI[seen.nonzero()] = -np.inf
            blocks.append(holdout_index[np.argsort(-scores_BI, axis=1, kind="stable")[:, :k]])
        return np.concatenate(blocks).astype(np.int32)
