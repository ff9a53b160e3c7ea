"""The training script of the two towers: one process or many ranks, CPU or GPU, the same lines.

Shapes: G likes to predict on a rank in a step, C items to choose from, I items, D factors.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from models.base import F32, I64, Examples, Report
from models.popularity import decayed_likes
from models.two_tower import TwoTower, TwoTowerParams, log_popularity
from training import distributed
from training.trainers.optimizers import Adam
from training.trainers.row_adagrad import RowAdagrad
from training.trainers.two_tower_batches import Bag, Batch, Catalogue, batches

ITEMS_PER_BLOCK = 100_000


def fit(examples: Examples, params: TwoTowerParams, report: Report) -> TwoTower:
    """Train on all ranks of the group this process is in, each on its users. Every rank gets the same model.

    Reports `loss` and `learning_rate`.
    """
    group = distributed.group()
    device = group.device
    items, likes = len(examples.item_ids), examples.histories

    torch.manual_seed(examples.seed)
    likes_I = group.sum(np.bincount(likes.items, minlength=items).astype(np.float64))
    catalogue = Catalogue.of(likes_I, examples.item_features)
    network = Towers(len(catalogue.liked), params).to(device)
    popular_I = torch.from_numpy(log_popularity(likes_I)).to(device)
    steps_an_epoch = -(-int(likes_I.sum()) // params.batch)
    drawn_I = torch.from_numpy(_logarithm_of_draws(likes_I, params, group.size)).to(device)

    tables = group.optimizer(RowAdagrad(network.tables.parameters(), lr=params.learning_rate), network)
    others = group.optimizer(Adam(network.others.parameters(), lr=params.mixing_learning_rate), network)
    done, steps = group.resume(network, tables, others), params.epochs * steps_an_epoch
    step = done * steps_an_epoch
    for epoch in range(done + 1, params.epochs + 1):
        losses = []
        rng = np.random.default_rng((examples.seed, epoch, group.rank))
        for own in batches(likes, catalogue, params, steps_an_epoch, rng):
            loss = _loss(network, own, catalogue, popular_I, drawn_I)
            for optimizer, rate in ((tables, params.learning_rate), (others, params.mixing_learning_rate)):
                optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            tables.step()
            others.step()
            step += 1
            losses.append(loss.detach())
        mean = group.mean(float(torch.stack(losses).mean()))
        if group.rank == 0:
            report(epoch, {"loss": mean, "learning_rate": params.learning_rate * (1 - step / steps)})
        group.save_checkpoint(epoch, network, tables, others)
    return _model(examples, params, network, catalogue, group)


def _loss(
    network: "Towers", own: Batch, catalogue: Catalogue, popular_I: torch.Tensor, drawn_I: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of this rank's likes, each by its weight."""
    device = popular_I.device
    vectors_UD = network.items(own.items_U, catalogue, own.shown_U)
    states_GD = network.users(vectors_UD, own.before, own.features)
    items_U, place_C = (torch.from_numpy(array).to(device) for array in (own.items_U, own.choice_C))
    choice_C = items_U[place_C]
    popularity_C = network.popularity_weight * popular_I[choice_C]
    scores_GC = states_GD @ vectors_UD[place_C].T + popularity_C - drawn_I[choice_C]
    # An item that is there twice must not be held against itself.
    own_GG = torch.eye(len(states_GD), scores_GC.shape[1], dtype=torch.bool, device=device)
    twice_GC = (place_C[: len(states_GD), None] == place_C) & ~own_GG
    logarithms_GC = scores_GC.masked_fill(twice_GC, -torch.inf).log_softmax(dim=1)
    return -(logarithms_GC.diagonal() * torch.from_numpy(own.weights_G).to(device)).sum()


class Towers(torch.nn.Module):
    """Tables of items' own parts (row 0, that of all cold ones, stays zero), of item and of user features."""

    def __init__(self, liked: int, params: TwoTowerParams) -> None:
        super().__init__()
        self.buckets = params.buckets
        rows = {"ids": liked + 1, "item_features": params.buckets, "user_features": params.buckets}
        self.tables = torch.nn.ParameterDict({name: torch.zeros(n, params.factors) for name, n in rows.items()})
        torch.nn.init.normal_(self.tables["ids"], std=params.factors**-0.5)
        self.tables["ids"].data[0] = 0
        self.others = torch.nn.ParameterDict({"mix": torch.eye(params.factors), "popularity_weight": torch.ones(())})

    @property
    def popularity_weight(self) -> torch.Tensor:
        """Of the popularity in a score."""
        popularity_weight: torch.Tensor = self.others["popularity_weight"]
        return popularity_weight

    def items(self, items_U: I64, catalogue: Catalogue, shown_U: F32) -> torch.Tensor:
        """Vectors, U x D; `shown` has 0 for an item without its own part."""
        table = self.tables["ids"]
        rows_U, shown = (torch.from_numpy(array).to(table.device) for array in (catalogue.rows_I[items_U], shown_U))
        own_UD = torch.nn.functional.embedding(rows_U, table, padding_idx=0, sparse=True) * shown[:, None]
        return own_UD + Bag.of_features(catalogue.features.of(items_U), self.buckets).sums(
            self.tables["item_features"], sparse=True
        )

    def users(self, vectors_UD: torch.Tensor, before: Bag, features: Bag) -> torch.Tensor:
        """Vectors, G x D, from those of the items liked before."""
        liked_GD: torch.Tensor = before.sums(vectors_UD, sparse=False) @ self.others["mix"]
        return liked_GD + features.sums(self.tables["user_features"], sparse=True)


def _logarithm_of_draws(likes_I: NDArray[np.floating], params: TwoTowerParams, ranks: int) -> F32:
    """Logarithm of how often a step has each item among its choices; cold ones never are."""
    batch, liked_I = params.batch / ranks, likes_I > 0
    drawn_I = batch * likes_I / likes_I.sum() + params.negatives * liked_I / liked_I.sum()
    return np.asarray(np.log(drawn_I, out=np.zeros(len(likes_I)), where=liked_I), np.float32)


def _model(
    examples: Examples, params: TwoTowerParams, network: Towers, catalogue: Catalogue, group: distributed.Group
) -> TwoTower:
    """The trained model; its item vectors are computed a block at a time."""
    items_ID = np.empty((len(examples.item_ids), params.factors), np.float32)
    with torch.inference_mode():
        for start in range(0, len(items_ID), ITEMS_PER_BLOCK):
            rows = np.arange(start, min(start + ITEMS_PER_BLOCK, len(items_ID)))
            items_ID[rows] = network.items(rows, catalogue, np.ones(len(rows), np.float32)).cpu().numpy()
    popular_I = group.sum(decayed_likes(examples, params.popularity_half_life_days).astype(np.float64))
    mix, user_features, item_features = (
        table.detach().cpu().numpy()
        for table in (network.others["mix"], network.tables["user_features"], network.tables["item_features"])
    )
    popularity_weight = network.popularity_weight.item()
    bias_I = np.float32(popularity_weight) * log_popularity(popular_I)
    return TwoTower(params, examples.item_ids, items_ID, bias_I, mix, user_features, item_features, popularity_weight)
