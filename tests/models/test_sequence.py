"""The sequence model's network, and what it looks at."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from models.base import Histories
from models.sequence import Sequence
from models.sequence_network import attention, dropout
from tests.models.checkerboard import trained


def test_attention_in_bfloat16_is_nearly_torchs_own_and_looks_at_nothing_later() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, 2, 9, 4) for _ in range(3)]
    mixed = attention(*(part.bfloat16() for part in parts))
    torch.testing.assert_close(
        mixed.float(), scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True), rtol=0.05, atol=0.05
    )
    changed = [part.bfloat16().clone() for part in parts]
    for part in changed:
        part[:, :, 5:] = 1
    torch.testing.assert_close(attention(*changed)[:, :, :5], mixed[:, :, :5], rtol=0, atol=0)


def test_dropout_drops_its_share_keeps_the_mean_and_happens_in_training_only() -> None:
    ones = torch.ones(400, 500)
    half, again = (dropout(ones, 0.5, np.random.default_rng(0)) for _ in range(2))
    assert (half == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    assert half.mean() == pytest.approx(1, abs=0.01)
    assert torch.equal(half, again)
    assert dropout(ones, 0.5, None) is ones


def test_the_sequence_model_forgets_likes_beyond_its_length() -> None:
    model = trained("sequence")
    assert isinstance(model, Sequence)
    last = [f"i{item:02}" for item in range(8)]
    longer, shorter = (
        Histories.from_lists(model.item_ids, [items], [[1.0] * len(items)], [range(len(items))])
        for items in (["i11", *last], last)
    )
    np.testing.assert_array_equal(model.encode(longer), model.encode(shorter))
