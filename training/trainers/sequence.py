"""The training script of the sequence model: one process or many ranks, CPU or GPU, the same lines."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.base import Examples, Report, Strings, item_index
from models.sequence import Sequence, SequenceParams, new_network
from models.sequence_network import Network
from training import distributed
from training.trainers.optimizers import AdamW, SparseAdam
from training.trainers.sequence_batches import Batch, batches, popularity_by_period, steps_of_an_epoch
from training.trainers.sequence_loss import weighted_cross_entropy

PIECE = {"cpu": 16, "cuda": 1_000_000}
"""Users that go through the network together; on a CPU so few that the data between two layers stay in the cache."""

REFIT_SHARE = 1 / 2
"""Of a training's epochs: a refit begins with trained weights. With a third, lists of fast growing data were worse."""


def fit(examples: Examples, params: SequenceParams, report: Report) -> Sequence:
    """Train on all ranks of the group this process is in, each on its own users. Every rank gets the same model.

    Reports `loss`, the mean cross-entropy of a target, and `learning_rate`.
    """
    torch.manual_seed(examples.seed)
    return _train(new_network(len(examples.item_ids), params), examples, params, params.epochs, report)


def refit(earlier: Sequence, examples: Examples, report: Report, share: float = REFIT_SHARE) -> Sequence:
    """Train a network further on more examples, for a share of its epochs. Reports as fit() does."""
    torch.manual_seed(examples.seed)
    network = new_network(len(examples.item_ids), earlier.params)
    network.set_arrays(_known_weights(earlier, network, examples.item_ids))
    return _train(network, examples, earlier.params, math.ceil(share * earlier.params.epochs), report)


def _known_weights(earlier: Sequence, new: Network, item_ids: Strings) -> dict[str, NDArray[Any]]:
    """The earlier weights; items that it does not know have those of the new network, whose items are `item_ids`."""
    arrays, fresh = earlier.network.arrays(), new.arrays()
    index = item_index(earlier.item_ids, item_ids)
    known, rows = np.flatnonzero(index >= 0), index[index >= 0]
    items_ID, bias_I = fresh["items.weight"], fresh["bias"]
    items_ID[rows], bias_I[rows] = arrays["items.weight"][known], arrays["bias"][known]
    items_ID[-1] = arrays["items.weight"][-1]  # the start token
    return {**arrays, "items.weight": items_ID, "bias": bias_I, "popular_I": fresh["popular_I"]}


def _train(network: Network, examples: Examples, params: SequenceParams, epochs: int, report: Report) -> Sequence:
    group = distributed.group()
    device = group.device
    bfloat16 = params.precision == "bfloat16" or (params.precision == "auto" and device.type == "cuda")
    items = len(examples.item_ids)
    network = network.to(device)
    starts, popular_PI = np.empty(0, np.int64), None
    if params.popularity:
        starts, popular = popularity_by_period(examples, params.popularity_half_life_days, group)
        popular_PI = torch.from_numpy(popular).to(device)
        network.popular_I = popular_PI[-1].clone()
    steps_an_epoch = steps_of_an_epoch(examples.histories, params, group)
    steps = epochs * steps_an_epoch
    optimizers = [group.optimizer(adam, network) for adam in adams(network, params)]
    done = group.resume(network, *optimizers)
    step = done * steps_an_epoch
    for epoch in range(done + 1, epochs + 1):
        network.train()
        losses = []
        rng = np.random.default_rng((examples.seed, epoch, group.rank))
        for pieces in batches(
            examples.histories, items, params,
            steps=steps_an_epoch, piece=PIECE[device.type], starts_P=starts, rng=rng,
        ):  # fmt: skip
            loss = _loss(network, pieces, popular_PI, rng, bfloat16=bfloat16, negatives=params.negatives)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            learning_rate = params.learning_rate * _rise_and_fall(step, steps)
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = learning_rate
                optimizer.step()
            step += 1
            losses.append(loss.detach())
        mean = group.mean(float(torch.stack(losses).mean()))
        if group.rank == 0:
            report(epoch, {"loss": mean, "learning_rate": learning_rate})
        group.save_checkpoint(epoch, network, *optimizers)
    return Sequence(params, examples.item_ids, network)


def _rise_and_fall(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear rise over the first tenth of the steps, then a linear fall to zero."""
    return min((step + 1) / (0.1 * steps + 1), 1 - step / steps)


def _loss(
    network: Network,
    pieces: list[Batch],
    popular_PI: torch.Tensor | None,
    rng: np.random.Generator,
    *,
    bfloat16: bool,
    negatives: int,
) -> torch.Tensor:
    """Mean cross-entropy of a step's targets, each by its weight."""

    def to_device(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(network.bias.device)

    # The softmax is most of the work: only where there is a target.
    found = [(piece, np.nonzero(piece.weights_GL)) for piece in pieces]
    targets, periods, weights = (
        to_device(np.concatenate([getattr(piece, name)[there] for piece, there in found]))
        for name in ("targets_GL", "periods_GL", "weights_GL")
    )
    with torch.autocast(network.bias.device.type, torch.bfloat16, enabled=bfloat16):
        states = torch.cat([
            network(to_device(piece.inputs_GL), to_device(piece.shown_GL), rng)[there] for piece, there in found
        ])  # fmt: skip
    weights = weights / weights.sum().clamp_min(1e-12)  # so that the ranks' losses count equally
    return weighted_cross_entropy(network, states, targets, weights, popular_PI, periods, bfloat16, negatives, rng)


def adams(network: Network, params: SequenceParams) -> list[torch.optim.Optimizer]:
    """AdamW; where the item vectors' gradient is sparse, a lazy Adam of their own, without decay."""
    sparse = [network.items.weight] if network.items.sparse else []
    dense = [weight for weight in network.parameters() if not any(weight is other for other in sparse)]
    adam = AdamW(dense, lr=params.learning_rate, betas=BETAS, weight_decay=params.weight_decay)
    return [adam, *([SparseAdam(sparse, lr=params.learning_rate, betas=BETAS)] if sparse else [])]


BETAS = (0.9, 0.98)
