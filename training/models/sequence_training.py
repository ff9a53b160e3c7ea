"""The training script of the sequence model: one process or many ranks, CPU or GPU, the same lines."""

import torch

from training import distributed
from training.models.base import Examples, Report
from training.models.sequence import Network, SequenceParams
from training.models.sequence_batches import batches, popularity_by_period, steps_of_an_epoch


def train(examples: Examples, params: SequenceParams, report: Report) -> Network:
    """Train on all ranks of the group this process is in, each on its users; every rank returns the same weights."""
    group = distributed.group()
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", group.local_rank) if gpu else torch.device("cpu")
    items = len(examples.item_ids)

    torch.manual_seed(examples.seed)
    network = Network(items, params)
    starts, popular = popularity_by_period(examples, params.popularity_half_life_days, group)
    popular_PI = torch.from_numpy(popular).to(device)
    network.popular_I = popular_PI[-1].clone()
    network.to(device)

    steps_an_epoch = steps_of_an_epoch(examples.histories, params, group)
    steps = params.epochs * steps_an_epoch
    adam = torch.optim.AdamW(network.parameters(), lr=params.rate, betas=(0.9, 0.98), weight_decay=params.decay)
    optimizer = group.optimizer(adam, network)

    done = group.resume(network, optimizer)
    step = done * steps_an_epoch
    for epoch in range(done + 1, params.epochs + 1):
        network.train()
        losses = []
        chance = (examples.seed, epoch, group.rank)
        for own in batches(examples.histories, items, params, steps=steps_an_epoch, starts_P=starts, chance=chance):
            inputs, targets, periods, weights, shown, kept = (
                torch.from_numpy(array).to(device)
                for array in (own.inputs_GL, own.targets_GL, own.periods_GL, own.weights_GL, own.shown_GL, own.kept_GD)
            )
            with torch.autocast("cuda", torch.bfloat16, enabled=gpu):
                states = network(inputs, shown, kept)
                counted = weights > 0  # the softmax is most of the work: only where there is a target
                scores = network.scores(states[counted], popular_PI[periods[counted]])
            surprise = torch.nn.functional.cross_entropy(scores.float(), targets[counted], reduction="none")
            loss = (surprise * weights[counted]).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rate = params.rate * min((step + 1) / (0.1 * steps + 1), 1 - step / steps)  # a linear rise, a linear fall
            for parameters in optimizer.param_groups:
                parameters["lr"] = rate
            optimizer.step()
            step += 1
            losses.append(loss.detach())
        mean = group.mean(float(torch.stack(losses).mean()))
        if group.rank == 0:
            report(epoch, {"loss": mean, "rate": rate})
        group.commit(epoch, network, optimizer)
    return network
