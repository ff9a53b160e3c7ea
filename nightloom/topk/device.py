"""nightloom.topk for torch tensors, on their device: blocks of complete score rows, for which a GPU has memory.

It calls only methods of the tensors, so it does not import torch. Scores are the device's float32 products: two scores
that differ by less than its rounding may change places on another device; equal scores are in the order of their ids.
Tested with tensors on a CPU, not yet on a GPU. Shapes: U users, I items, D factors, B users of a block, K list length.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
SCORES_PER_BLOCK = 1 << 27  # 0.5 GiB, and 1 GiB of keys
ID_MASK = 0xFFFFFFFF


def is_tensor(array: object) -> bool:
    """Whether the array is a torch tensor, without importing torch."""
    return type(array).__module__ == "torch"


def norms(rows_ND: Any) -> NDArray[np.float64]:
    """N: norm of each row, in float64."""
    norms_N: NDArray[np.float64] = rows_ND.double().square().sum(dim=1).sqrt().cpu().numpy()
    return norms_N


def top_keys_of_block(
    users_BD: Any,
    items_ID: Any,
    bias_I: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    length: int,
) -> NDArray[np.int64]:
    """The keys (see nightloom.topk.screen) of each user's `length` best items, B x K; a bias of -inf bans an item."""
    ids_I = items_ID.new_ones(len(items_ID)).long().cumsum(0) - 1
    rows, columns = np.repeat(np.arange(len(users_BD)), np.diff(indptr)), indices[indptr[0] : indptr[-1]]
    scores_BI = users_BD @ items_ID.T + items_ID.new_tensor(bias_I)
    scores_BI[ids_I.new_tensor(rows), ids_I.new_tensor(columns)] = -np.inf
    bits_BI = (scores_BI + 0.0).view(ids_I.int().dtype)
    ordered_BI = bits_BI.where(bits_BI >= 0, bits_BI ^ 0x7FFFFFFF).long()
    best: I64 = ((ordered_BI << 32) | (ID_MASK - ids_I)).topk(length, dim=1).values.cpu().numpy()
    return best
