"""Self-attentive sequence model: what a user liked, in order -> what comes next, over the whole catalogue.

Causal self-attention over the last `length` likes (Kang and McAuley 2018, SASRec), full softmax, item vectors shared
between input and output. A learned start token comes first: its state is the cold user's vector.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field

from models.base import F32, Examples, Histories, Params, Report, Strings, leave_one_out, read, write
from models.sequence_batches import Chance, windows

USERS_PER_BLOCK = 256


class SequenceParams(Params):
    factors: int = Field(64, ge=1)
    """Length of a vector; a multiple of heads."""
    length: int = Field(100, ge=1)
    """Likes of a user that are looked at, the last ones."""
    blocks: int = Field(1, ge=1)
    """Layers of attention."""
    heads: int = Field(2, ge=1)
    epochs: int = Field(8, ge=1)
    """Times that every user is seen, with another window of a long history each time."""
    batch: int = Field(64, ge=1)
    """Users per step, over all ranks together."""
    rate: float = Field(0.002, gt=0)
    """Peak learning rate: a linear rise over the first tenth of the steps, then a linear fall to zero."""
    decay: float = Field(0.01, ge=0)
    """Weight decay (AdamW)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of features that each layer's output goes without in a step, to the nearest 1/256."""
    hidden: float = Field(0.2, ge=0, lt=1)
    """Share of likes that a user's input goes without in a step."""
    horizon: int = Field(100, ge=1)
    """A target is drawn from the next so many likes: a nightly list is for a whole day, not for the next click."""
    personal: float = Field(0.5, gt=0)
    """How much of a score's personal part counts when encoding: a network is surer than few data allow."""
    popularity: bool = True
    """Whether what was popular is given to the model. Without, it is learnt: for events whose times mean nothing."""
    popularity_half_life_days: float = Field(10.0, gt=0)
    """After this many days a like counts half in what is popular."""
    negatives: int = Field(0, ge=0)
    """Items that a step's targets are told from beside each other, drawn anew for each step; 0: all there are."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of products in training. auto: bfloat16 on a GPU, else float32; a CPU with bfloat16 instructions (AVX512-BF16,
    AMX) does them several times as fast in it, another one far slower."""


@dataclass(frozen=True)
class Sequence:
    """Users: hot and warm ones by their last likes, also when they came after the training; a cold one by the start
    token, trained on everybody's first like. Items: hot and warm ones; a cold one is not in the model.
    """

    name: ClassVar[str] = "sequence"
    params: SequenceParams
    item_ids: Strings
    network: "Network"

    @classmethod
    def fit(cls, examples: Examples, params: dict[str, Any], report: Report) -> Self:
        """On all ranks together; reports `loss` (mean cross-entropy a target) and `rate`. Every rank gets the model."""
        from models.sequence_training import train

        known = SequenceParams(**params)
        return cls(known, examples.item_ids, train(examples, known, report))

    @property
    def items_ID(self) -> F32:
        return np.asarray(self.network.items.weight.detach().cpu().numpy()[:-1])

    @property
    def bias_I(self) -> F32:
        """What is liked more than its popularity says, and the popularity as of the training's cut."""
        return np.asarray((self.network.bias + self.network.trust * self.network.popular_I).detach().cpu().numpy())

    def encode(self, histories: Histories) -> F32:
        """States after the last like. Users of like length go together: less padding."""
        self.network.eval()
        users_BD = np.empty((len(histories), self.params.factors), np.float32)
        order = np.argsort(histories.lengths_B, kind="stable")
        device = self.network.bias.device
        with torch.inference_mode():
            for start in range(0, len(order), USERS_PER_BLOCK):
                rows = order[start : start + USERS_PER_BLOCK]
                firsts = np.maximum(histories.lengths_B[rows] - self.params.length, 0)
                inputs_BL, lengths_B = windows(histories, rows, firsts, self.params.length, len(self.item_ids))
                states_BLD = self.network(torch.from_numpy(inputs_BL).to(device))
                users_BD[rows] = states_BLD[np.arange(len(rows)), lengths_B].cpu().numpy()
        return users_BD * np.float32(self.params.personal)

    def contributions(self, history: Histories, item: int) -> F32:
        """By leaving each like out in turn."""
        return leave_one_out(self, history, item)

    def save(self, folder: Path) -> None:
        weights = {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}
        write(folder, self, **weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        known, item_ids = SequenceParams(**params), arrays.pop("item_ids")
        network = Network(len(item_ids), known)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        return cls(known, item_ids, network)


class Network(torch.nn.Module):
    """Shapes: B users, L positions (start token, then likes), D factors, I items."""

    def __init__(self, items: int, params: SequenceParams) -> None:
        super().__init__()
        self.dropout = params.dropout
        # The last one is the start token. With few of many items in a step, the gradient is of those few only.
        self.items = torch.nn.Embedding(items + 1, params.factors, sparse=params.negatives > 0)
        self.positions = torch.nn.Parameter(torch.zeros(params.length + 1, params.factors))
        self.blocks = torch.nn.ModuleList(Block(params) for _ in range(params.blocks))
        self.norm = torch.nn.LayerNorm(params.factors, bias=False)  # it would cancel: states are differences
        self.bias = torch.nn.Parameter(torch.zeros(items))
        self.trust = torch.nn.Parameter(torch.ones(()))  # in popularity
        self.popular_I: torch.Tensor
        self.register_buffer("popular_I", torch.zeros(items))
        torch.nn.init.normal_(self.items.weight, std=0.02)
        torch.nn.init.normal_(self.positions, std=0.02)

    def forward(
        self, inputs_BL: torch.Tensor, shown_BL: torch.Tensor | None = None, chance: Chance | None = None
    ) -> torch.Tensor:
        """States, B x L x D: position l has seen inputs 0..l. In training `shown` masks likes, already scaled, and
        `chance` draws the dropout.
        """
        x_BLD = self.items(inputs_BL)
        if shown_BL is not None:
            x_BLD = x_BLD * shown_BL[:, :, None]
        x_BLD = dropped(x_BLD + self.positions[: inputs_BL.shape[1]], self.dropout, chance)
        for block in self.blocks:
            x_BLD = block(x_BLD, chance)
        states_BLD: torch.Tensor = self.norm(x_BLD)
        return states_BLD - states_BLD[:, :1]  # an empty history is the vector zero: what is popular ranks


class Block(torch.nn.Module):
    """Attention to what came before, then a feed-forward layer, each on a normalised input and added to it.

    Padding is at the end of a sequence, so the causal mask hides it from every position that counts.
    """

    def __init__(self, params: SequenceParams) -> None:
        super().__init__()
        width = params.factors
        self.heads, self.dropout = params.heads, params.dropout
        self.norm_attention, self.norm_feed = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.into, self.out = torch.nn.Linear(width, 3 * width, bias=False), torch.nn.Linear(width, width, bias=False)
        self.wide, self.narrow = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)

    def forward(self, x_BLD: torch.Tensor, chance: Chance | None) -> torch.Tensor:
        x_BLD = x_BLD + dropped(self._attention(self.norm_attention(x_BLD)), self.dropout, chance)
        wide = torch.nn.functional.gelu(self.wide(self.norm_feed(x_BLD)))
        y_BLD: torch.Tensor = x_BLD + dropped(self.narrow(wide), self.dropout, chance)
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


def dropped(x: torch.Tensor, share: float, chance: Chance | None) -> torch.Tensor:
    """Dropout in training, that is where there is chance.

    On a CPU by numpy's random bytes: torch's take longer than the layer whose output they hit.
    """
    if chance is None or share == 0:
        return x
    if x.is_cuda:
        return torch.nn.functional.dropout(x, share)
    limit = round(share * 256)
    kept = torch.from_numpy(np.frombuffer(chance.bytes(x.numel()), np.uint8) >= limit).view(x.shape)
    return x * (kept.to(x.dtype) * (256 / (256 - limit)))
