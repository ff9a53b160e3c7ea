"""The network of the sequence model: causal self-attention over a user's likes, oldest first."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.base import F32, I64


class Network(torch.nn.Module):
    """Shapes: B users, L positions (start token, then likes), D factors, I items."""

    def __init__(
        self, items: int, *, factors: int, length: int, blocks: int, heads: int, dropout: float, sparse: bool
    ) -> None:
        """`sparse`: the gradient of the item vectors is of the few items in a step only."""
        super().__init__()
        self.dropout = dropout
        self.items = torch.nn.Embedding(items + 1, factors, sparse=sparse)  # the last one is the start token
        self.positions = torch.nn.Parameter(torch.zeros(length + 1, factors))
        self.blocks = torch.nn.ModuleList(Block(factors, heads, dropout) for _ in range(blocks))
        self.norm = torch.nn.LayerNorm(factors, bias=False)  # it would cancel: states are differences
        self.bias = torch.nn.Parameter(torch.zeros(items))
        self.popularity_weight = torch.nn.Parameter(torch.ones(()))
        self.popular_I: torch.Tensor
        self.register_buffer("popular_I", torch.zeros(items))
        torch.nn.init.normal_(self.items.weight, std=0.02)
        torch.nn.init.normal_(self.positions, std=0.02)

    def forward(
        self, inputs_BL: torch.Tensor, shown_BL: torch.Tensor | None = None, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """States, B x L x D: position l has seen inputs 0..l. In training `shown` masks likes, already scaled, and
        `rng` draws the dropout.
        """
        x_BLD = self.items(inputs_BL)
        if shown_BL is not None:
            x_BLD = x_BLD * shown_BL[:, :, None]
        x_BLD = dropout(x_BLD + self.positions[: inputs_BL.shape[1]], self.dropout, rng)
        for block in self.blocks:
            x_BLD = block(x_BLD, rng)
        states_BLD: torch.Tensor = self.norm(x_BLD)
        return states_BLD - states_BLD[:, :1]  # an empty history is the vector zero: what is popular ranks

    def last_states(self, inputs_BL: I64, last_B: I64) -> F32:
        """States after the given position of each user, B x D."""
        with torch.inference_mode():
            states_BLD = self(torch.from_numpy(inputs_BL).to(self.bias.device))
            return np.asarray(states_BLD[np.arange(len(last_B)), last_B].cpu().numpy())

    def item_vectors(self) -> F32:
        """Without the start token's."""
        return np.asarray(self.items.weight.detach().cpu().numpy()[:-1])

    def item_bias(self) -> F32:
        """What is liked more than its popularity says, and the popularity as of the training's cut."""
        return np.asarray((self.bias + self.popularity_weight * self.popular_I).detach().cpu().numpy())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights by name."""
        return {name: value.cpu().numpy() for name, value in self.state_dict().items()}

    def set_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})


class Block(torch.nn.Module):
    """Attention to what came before, then a feed-forward layer, each on a normalised input and added to it.

    Padding is at the end of a sequence, so the causal mask hides it from every position that counts.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feed = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.into, self.out = torch.nn.Linear(width, 3 * width, bias=False), torch.nn.Linear(width, width, bias=False)
        self.wide, self.narrow = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)

    def forward(self, x_BLD: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
        x_BLD = x_BLD + dropout(self._attention(self.norm_attention(x_BLD)), self.dropout, rng)
        wide = torch.nn.functional.gelu(self.wide(self.norm_feed(x_BLD)))
        y_BLD: torch.Tensor = x_BLD + dropout(self.narrow(wide), self.dropout, rng)
        return y_BLD

    def _attention(self, x_BLD: torch.Tensor) -> torch.Tensor:
        users, length, width = x_BLD.shape
        queries, keys, values = (
            self.into(x_BLD).view(users, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        mixed = attention(queries, keys, values)
        mixed_BLD: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(users, length, width))
        return mixed_BLD


def attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Each position's mean of the values up to it, by likeness of query and key; B x heads x L x E.

    In bfloat16 on a CPU by plain products: torch's own takes three to seven times as long there.
    """
    if not (queries.dtype == torch.bfloat16 and queries.device.type == "cpu"):
        return torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    users, heads, length, width = queries.shape
    flat = (users * heads, length, width)
    later_LL = torch.full((length, length), -torch.inf, dtype=queries.dtype).triu(1)
    likeness = torch.baddbmm(later_LL, queries.reshape(flat), keys.reshape(flat).transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(torch.softmax(likeness, -1), values.reshape(flat)).view(queries.shape)


def dropout(x: torch.Tensor, share: float, rng: np.random.Generator | None) -> torch.Tensor:
    """Dropout in training; without `rng`, `x` as it is.

    On a CPU by numpy's random bytes: torch's take longer than the layer whose output they hit.
    """
    if rng is None or share == 0:
        return x
    if x.is_cuda:
        return torch.nn.functional.dropout(x, share)
    limit = round(share * 256)
    kept = torch.from_numpy(np.frombuffer(rng.bytes(x.numel()), np.uint8) >= limit).view(x.shape)
    return x * (kept.to(x.dtype) * (256 / (256 - limit)))
