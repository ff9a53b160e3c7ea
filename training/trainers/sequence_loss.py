"""Softmax cross-entropy of states over items, a block of rows at a time: scores never fill the memory.

Gradients are made on the way forward, while a block's scores are there. Shapes: N targets, B rows of a block, I items,
D factors, P periods.
"""

from typing import Any

import numpy as np
import torch

from models.sequence_network import Network

ROWS = {"cpu": 256, "cuda": 8192}
"""Of a block; on a CPU the scores of so many rows and some thousand items stay in a core's cache."""


def weighted_cross_entropy(
    network: Network,
    states_ND: torch.Tensor,
    targets_N: torch.Tensor,
    weights_N: torch.Tensor,
    popular_PI: torch.Tensor | None,
    periods_N: torch.Tensor,
    bfloat16: bool,
    negatives: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Weighted sum of the targets' cross-entropies, over all items or over some (see candidates())."""
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    items_ID, bias_I = network.items.weight[:-1], network.bias[:]
    if negatives:
        ids_I, targets_N, lift_I = candidates(targets_N, len(items_ID), negatives, rng)
        items_ID, bias_I = network.items(ids_I), bias_I[ids_I] + lift_I
        popular_PI = None if popular_PI is None else popular_PI[:, ids_I]
    found: torch.Tensor = _WeightedCrossEntropy.apply(
        states_ND.float(),
        items_ID,
        bias_I,
        network.popularity_weight,
        popular_PI,
        periods_N,
        targets_N,
        weights_N,
        dtype,
    )
    return found


def candidates(
    targets_N: torch.Tensor, items: int, negatives: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The step's targets, and so many others at most, drawn from the rest: (ids_C, targets among them, lift_C).

    Those drawn stand for all the rest: `lift`, to be added to their scores, makes the softmax's sum right in the mean.
    """
    distinct_T, places_N = torch.unique(targets_N, return_inverse=True)
    drawn = torch.from_numpy(np.unique(rng.integers(0, items, negatives))).to(distinct_T.device)
    drawn = drawn[~torch.isin(drawn, distinct_T)]
    lift_C = torch.zeros(len(distinct_T) + len(drawn), device=distinct_T.device)
    lift_C[len(distinct_T) :] = np.log(max(items - len(distinct_T), 1) / max(len(drawn), 1))
    return torch.cat([distinct_T, drawn]), places_N, lift_C


class _WeightedCrossEntropy(torch.autograd.Function):
    """weighted_cross_entropy() over the items given, with its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        states_ND: torch.Tensor,
        items_ID: torch.Tensor,
        bias_I: torch.Tensor,
        popularity_weight: torch.Tensor,
        popular_PI: torch.Tensor | None,
        periods_N: torch.Tensor,
        targets_N: torch.Tensor,
        weights_N: torch.Tensor,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        weighted_ND = states_ND * weights_N[:, None]
        low_ID, low_I, low_ND, low_weighted_ND = (x.to(dtype) for x in (items_ID, bias_I, states_ND, weighted_ND))
        loss, popularity_gradient = torch.zeros_like(popularity_weight), torch.zeros_like(popularity_weight)
        states_gradient_ND, items_gradient_ID, bias_gradient_I = (
            torch.empty_like(states_ND),
            torch.zeros_like(items_ID),
            torch.zeros_like(bias_I),
        )
        for start in range(0, len(states_ND), ROWS[states_ND.device.type]):
            block = slice(start, start + ROWS[states_ND.device.type])
            weights_B, targets_B = weights_N[block], targets_N[block, None]
            scores_BI = torch.addmm(low_I, low_ND[block], low_ID.T)
            if popular_PI is not None:
                popular_BI = popular_PI[periods_N[block]]
                scores_BI += popularity_weight * popular_BI
            shares_BI = torch.softmax(scores_BI, 1)
            if popular_PI is not None:
                pulls_B = (shares_BI * popular_BI).sum(1) - popular_BI.gather(1, targets_B)[:, 0]
                popularity_gradient += weights_B @ pulls_B
            probabilities_B = shares_BI.gather(1, targets_B)[:, 0].float().clamp_min(TINY)
            loss -= weights_B @ probabilities_B.log()
            states_gradient_ND[block] = (shares_BI @ low_ID).float() * weights_B[:, None]
            items_gradient_ID += shares_BI.T @ low_weighted_ND[block]
            bias_gradient_I += weights_B.to(dtype) @ shares_BI
        # What each target adds for being the target, in full precision.
        states_gradient_ND -= items_ID[targets_N] * weights_N[:, None]
        items_gradient_ID.index_put_((targets_N,), -weighted_ND, accumulate=True)
        bias_gradient_I.index_put_((targets_N,), -weights_N, accumulate=True)
        ctx.save_for_backward(states_gradient_ND, items_gradient_ID, bias_gradient_I, popularity_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return *(gradient * each for each in ctx.saved_tensors), None, None, None, None, None


TINY = torch.finfo(torch.float32).tiny
