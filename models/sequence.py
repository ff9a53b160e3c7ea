"""Self-attentive sequence model: what a user liked, in order -> what comes next, over the whole catalogue.

Causal self-attention over the last `length` likes (Kang and McAuley 2018, SASRec), full softmax, item vectors shared
between input and output. A learned start token comes first: its state is the cold user's vector.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from models.base import F32, I64, Histories, Params, Strings, leave_one_out, read, write
from models.definition import Definition

if TYPE_CHECKING:
    from models.sequence_network import Network

USERS_PER_BLOCK = 256


class SequenceParams(Params):
    factors: int = Field(64, ge=1)
    """Length of a vector; a multiple of heads."""
    length: int = Field(100, ge=1)
    """Likes of a user that are looked at, the last ones."""
    blocks: int = Field(1, ge=1)
    """Layers of attention."""
    heads: int = Field(2, ge=1)
    """Attention heads of each layer."""
    epochs: int = Field(8, ge=1)
    """Times that every user is seen, with another window of a long history each time."""
    batch: int = Field(64, ge=1)
    """Users per step, over all ranks together."""
    learning_rate: float = Field(0.002, gt=0)
    """At its peak: a linear rise over the first tenth of the steps, then a linear fall to zero."""
    weight_decay: float = Field(0.01, ge=0)
    """Of AdamW."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of features that each layer's output goes without in a step, to the nearest 1/256."""
    item_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of a user's likes that the input goes without in a step."""
    horizon: int = Field(100, ge=1)
    """A target is drawn from the next so many likes: a nightly list is for a whole day, not for the next click."""
    logit_scale: float = Field(0.5, gt=0)
    """What the part of a score that depends on the history is multiplied by: a network is surer than few data allow."""
    popularity: bool = True
    """Whether what was popular is given to the model. Without, it is learnt: for events whose times mean nothing."""
    popularity_half_life_days: float = Field(10.0, gt=0)
    """After this many days a like counts half in what is popular."""
    negatives: int = Field(0, ge=0)
    """Number of negatives, drawn for each step, that its targets are told from; 0: all items."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of products in training. auto: bfloat16 on a GPU, else float32; a CPU with bfloat16 instructions (AVX512-BF16,
    AMX) does them several times as fast in it, another one far slower."""


@dataclass(frozen=True)
class Sequence:
    """Self-attention over the last likes, in their order (SASRec; Kang and McAuley 2018).

    Trains in epochs, on many ranks. Good where order matters.

    Users: hot and warm ones by their last likes, also when they came after the training; a cold one gets what is
    popular. Items: hot and warm ones by their vectors; a cold one is not in the model.
    """

    name: ClassVar[str] = "sequence"
    params: SequenceParams
    item_ids: Strings
    network: "Network"

    @property
    def items_ID(self) -> F32:
        return self.network.item_vectors()

    @property
    def bias_I(self) -> F32:
        return self.network.item_bias()

    def encode(self, histories: Histories) -> F32:
        """States after the last like. Users with histories of similar length go together: less padding."""
        self.network.eval()
        users_BD = np.empty((len(histories), self.params.factors), np.float32)
        order = np.argsort(histories.lengths_B, kind="stable")
        for start in range(0, len(order), USERS_PER_BLOCK):
            rows = order[start : start + USERS_PER_BLOCK]
            firsts = np.maximum(histories.lengths_B[rows] - self.params.length, 0)
            inputs_BL, lengths_B = windows(histories, rows, firsts, self.params.length, len(self.item_ids))
            users_BD[rows] = self.network.last_states(inputs_BL, lengths_B)
        return users_BD * np.float32(self.params.logit_scale)

    def contributions(self, history: Histories, item: int) -> F32:
        """By leaving each like out in turn."""
        return leave_one_out(self, history, item)

    def save(self, folder: Path) -> None:
        write(folder, self, **self.network.arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        known, item_ids = SequenceParams(**params), arrays.pop("item_ids")
        network = new_network(len(item_ids), known)
        network.set_arrays(arrays)
        return cls(known, item_ids, network)


def new_network(items: int, params: SequenceParams) -> "Network":
    """An untrained one."""
    from models.sequence_network import Network  # torch: only those who train or score wait for it

    return Network(
        items, factors=params.factors, length=params.length, blocks=params.blocks, heads=params.heads,
        dropout=params.dropout, sparse=params.negatives > 0,
    )  # fmt: skip


def windows(histories: Histories, rows: I64, firsts: I64, length: int, start_token: int) -> tuple[I64, I64]:
    """The start token, then up to `length` likes of each row from its event number `firsts` on, padded at the end.

    Returns (inputs: rows x (longest, at least 1, + 1) int64, likes in each row).
    """
    lengths = np.minimum(histories.lengths_B[rows] - firsts, length)
    places = np.arange(lengths.max(initial=1))
    events = (histories.indptr[rows] + firsts)[:, None] + places
    inside = places < lengths[:, None]
    inputs = np.full((len(rows), len(places) + 1), start_token, np.int64)
    inputs[:, 1:][inside] = histories.items[events[inside]]
    return inputs, lengths


MODEL = Definition(
    Sequence,
    SequenceParams,
    distributed=True,
    requirements=("torch",),
    example_params={"factors": 16, "epochs": 40, "batch": 20, "length": 8, "dropout": 0.0, "learning_rate": 0.01},
)
