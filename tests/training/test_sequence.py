"""Training the sequence model: its loss against torch's, sampled against full, bfloat16 against float32."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from models.base import Examples, FactorModel, Histories
from models.recommend import scores
from models.sequence import Sequence, SequenceParams, new_network
from models.sequence_network import Network
from nightloom.topk import topk
from tests.models.checkerboard import PARAMS, checkerboard, trained
from training import trainers
from training.trainers.sequence import REFIT_SHARE
from training.trainers.sequence_batches import batches
from training.trainers.sequence_loss import candidates, weighted_cross_entropy

SOME, D, P, N = 50, 8, 3, 600  # items, factors, periods, targets: more than a block has rows


def network() -> Network:
    torch.manual_seed(0)
    net = new_network(SOME, SequenceParams(factors=D))
    torch.nn.init.normal_(net.items.weight)
    torch.nn.init.normal_(net.bias)
    return net


def loss_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, targets, weights, what was popular, periods."""
    torch.manual_seed(1)
    states = torch.randn(N, D, requires_grad=True)
    return states, torch.randint(SOME, (N,)), torch.rand(N), torch.randn(P, SOME), torch.randint(P, (N,))


def test_the_loss_and_its_gradients_are_those_of_a_softmax_over_all_items() -> None:
    ours, theirs, (states, targets, weights, popular, periods) = network(), network(), loss_inputs()
    rng = np.random.default_rng(0)
    loss = weighted_cross_entropy(
        ours, states, targets, weights, popular, periods, bfloat16=False, negatives=0, rng=rng
    )
    (3 * loss).backward()  # type: ignore[no-untyped-call]
    again = states.detach().clone().requires_grad_()
    scores = again @ theirs.items.weight[:-1].T + theirs.bias + theirs.popularity_weight * popular[periods]
    expected = (cross_entropy(scores, targets, reduction="none") * weights).sum()
    (3 * expected).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(states.grad, again.grad)
    for name in ("items.weight", "bias", "popularity_weight"):
        torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_the_loss_and_its_gradients_are_nearly_the_same() -> None:
    results = []
    for half in (False, True):
        net, (states, targets, weights, _, periods) = network(), loss_inputs()
        loss = weighted_cross_entropy(net, states, targets, weights, None, periods, half, 0, np.random.default_rng(0))
        loss.backward()  # type: ignore[no-untyped-call]
        assert states.grad is not None
        results.append((loss.detach(), states.grad, net.items.weight.grad))
    for exact, rounded in zip(*results, strict=True):
        assert (rounded - exact).norm() < 0.01 * exact.norm()


def test_with_every_item_drawn_the_sampled_loss_is_the_full_one() -> None:
    net, (states, targets, weights, popular, periods) = network(), loss_inputs()
    few = slice(0, 20)  # so that not every item is a target anyway
    losses = [
        weighted_cross_entropy(
            net, states[few], targets[few], weights[few], popular, periods[few], False, negatives, rng
        )
        for negatives, rng in ((0, np.random.default_rng(0)), (10_000, np.random.default_rng(0)))
    ]
    torch.testing.assert_close(losses[1], losses[0])


def test_the_items_drawn_stand_for_all_that_are_not_targets() -> None:
    """exp(score) summed over the candidates is in the mean the sum over all items."""
    scores, targets = torch.randn(SOME).double(), torch.tensor([3, 7, 3, 49])
    sums = []
    for seed in range(2000):
        ids, places, lift = candidates(targets, SOME, 10, np.random.default_rng(seed))
        assert ids[places].tolist() == targets.tolist()
        assert len(set(ids.tolist())) == len(ids) <= 13
        sums.append(float((scores[ids] + lift).exp().sum()))
    assert np.mean(sums) == pytest.approx(float(scores.exp().sum()), rel=0.02)


def test_an_epochs_pieces_hold_every_user_once_with_like_lengths_together() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(23), rng.integers(1, 9, 23))  # each likes one item only, their own
    ones, times = np.ones(len(rows), np.float32), np.arange(len(rows))
    histories = Histories.from_events(23, rows, rows.astype(np.int32), ones, times)
    params = SequenceParams(length=6, item_dropout=0.0)
    steps = list(batches(histories, 23, params, steps=4, piece=2, starts_P=np.array([0]), rng=rng))
    assert [len(pieces) for pieces in steps] == [3, 3, 3, 3]
    users = [user for pieces in steps for piece in pieces for user in piece.targets_GL[:, 0].tolist()]
    assert sorted(users) == list(range(23))
    for pieces in steps:
        widths = [piece.inputs_GL.shape[1] for piece in pieces]
        assert widths == sorted(widths)


OTHER_WAYS = ({"negatives": 3}, {"precision": "bfloat16"}, {"popularity": False, "horizon": 1})


@pytest.mark.parametrize("more", OTHER_WAYS)
def test_each_other_way_of_training_learns_the_checkerboard_too(more: dict[str, object]) -> None:
    examples = checkerboard()
    model = trainers.fit("sequence", examples, {**PARAMS["sequence"], **more})
    assert isinstance(model, FactorModel)
    newcomer = Histories.from_lists(model.item_ids, [["i01", "i05", "i09"]], [[1, 1, 1]], [[1, 2, 3]])
    ids, _ = topk(
        model.encode(newcomer), model.items_ID, 3, bias_I=model.bias_I, seen=(newcomer.indptr, newcomer.items)
    )
    assert set(ids[0].tolist()) == {3, 7, 11}


def with_a_new_item(known: Examples) -> Examples:
    """Item `a`, first in the order of items, is the last like of every even user."""
    events, evens = known.histories, np.arange(0, len(known.histories), 2)
    histories = Histories.from_events(
        len(events), np.append(events.rows_N, evens), np.append(events.items + 1, 0 * evens).astype(np.int32),
        np.ones(len(events.items) + len(evens), np.float32), np.append(events.times, known.cut - 1 + 0 * evens),
    )  # fmt: skip
    return replace(known, item_ids=np.append("a", known.item_ids), histories=histories)


def test_a_refit_goes_on_from_the_judged_weights_in_fewer_epochs_and_learns_a_new_item() -> None:
    judged, epochs = trained("sequence"), list[int]()
    examples = with_a_new_item(checkerboard())
    refit = trainers.refit(judged, examples, lambda epoch, _: epochs.append(epoch))
    assert isinstance(judged, Sequence)
    assert isinstance(refit, Sequence)
    assert len(epochs) == math.ceil(REFIT_SHARE * judged.params.epochs)
    assert refit.params == judged.params
    scratch = trainers.fit("sequence", examples, judged.params.model_dump())
    assert isinstance(scratch, Sequence)
    changes = [np.abs(model.items_ID[1:] - judged.items_ID).mean() for model in (refit, scratch)]
    assert changes[0] < changes[1] / 2
    scores_BI = scores(refit, examples.histories)
    ranks_B = (scores_BI > scores_BI[:, :1]).sum(axis=1)
    assert ranks_B[::2].max() < ranks_B[1::2].min()


def test_a_refit_repeats_bit_for_bit() -> None:
    judged, examples = trained("sequence"), with_a_new_item(checkerboard())
    one, other = (trainers.refit(judged, examples) for _ in range(2))
    np.testing.assert_array_equal(scores(one, examples.histories), scores(other, examples.histories))
