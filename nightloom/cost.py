"""`nightloom cost`: seconds, GiB, machines and money of a night, from the nights that `./run bench scale` measured.

rates.json holds measured nights: how much there was, and seconds and GiB of every stage. A stage's seconds are fitted
to them: a share that every night has, and a share for each unit of what drives the stage (DRIVERS). docs/scaling.md has
the model's limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table
from scipy.optimize import nnls

from nightloom.night import stages
from nightloom.terminal import screen

RATES = Path(__file__).with_name("rates.json")
USER_IN_ITEMS = 500_000
"""Scoring a user costs as much as so many items, besides the products: 79 us for the history and the list, against
0.14 ns an item (docs/topk.md) in the measured night of a million users by 200,000 items."""
MARTS_IN_EVENTS = 10_000_000
"""The marts' part that does not grow with the history, in events: a tenth of the measured history took about half."""
EVENTS_PER_ACTIVE_USER = 10
DESCRIBED_SHARE = 0.01
"""Of a night: users and items that are described again; events of an active user. As in the second measured night."""
SINGLE = {
    stages.DATA_GATE.name, stages.MODEL_GATE.name, stages.SIMILAR_ITEMS.name, stages.SLATE_GATE.name,
    stages.PUBLISH.name, stages.REPORT.name, stages.MARTS_CHECK.name,
}  # fmt: skip
"""Stages that run in one process, so that more machines do not shorten them."""
TRAINING = {stages.TRAIN.name, stages.MODEL_GATE.name}
LAKE_BYTES = {"all_events": 239, "users": 301, "items": 558}
"""Bytes in the lake, measured after the two nights: bronze to gold, without old versions."""
STORE_BYTES = 1_266
"""Bytes of a served list of 30 with its titles, in LMDB: a version."""
KEPT_VERSIONS = 3
MEASURED_USERS, MEASURED_ITEMS, MEASURED_EVENTS = (100_000, 10_000_000), (20_000, 1_000_000), (10_000, 100_000_000)
"""Within these the model is expected to hold: ten times the measured night, and down to a tenth of it."""
GIB, DAYS_OF_A_MONTH = 2**30, 30


@dataclass(frozen=True)
class Workload:
    """One night: how much there is, and how much of it is new."""

    users: int
    items: int
    events: int
    """New events."""
    all_events: int
    """All events, the new ones included."""
    described_users: int
    described_items: int
    scored_users: int
    trained: bool
    """Whether a model is trained: then every list and all similar items are made again."""

    @property
    def user_items(self) -> float:
        return self.scored_users * (self.items + USER_IN_ITEMS)


Driver = Callable[[Workload], float]
DRIVERS: dict[str, Sequence[Driver]] = {
    stages.BRONZE.name: (lambda night: 1.0, lambda night: night.events),
    stages.SILVER_ITEMS.name: (lambda night: 1.0, lambda night: night.described_items),
    stages.SILVER_USERS.name: (lambda night: 1.0, lambda night: night.described_users),
    stages.SILVER_INTERACTIONS.name: (lambda night: 1.0, lambda night: night.events),
    stages.DATA_GATE.name: (lambda night: 1.0, lambda night: night.events),
    stages.HISTORIES.name: (lambda night: 1.0, lambda night: night.events),
    stages.ITEM_DAYS.name: (lambda night: 1.0, lambda night: night.events),
    stages.ITEM_STATS.name: (lambda night: 1.0,),
    stages.POPULAR.name: (lambda night: 1.0,),
    stages.TRAIN.name: (lambda night: night.all_events,),
    stages.MODEL_GATE.name: (lambda night: night.users * (night.items + USER_IN_ITEMS), lambda night: night.all_events),
    stages.RECOMMENDATIONS.name: (lambda night: 1.0, lambda night: night.user_items),
    stages.SIMILAR_ITEMS.name: (lambda night: 1.0, lambda night: night.trained * night.items**2),
    stages.SLATE_GATE.name: (lambda night: night.users,),
    stages.PUBLISH.name: (lambda night: night.users,),
    stages.REPORT.name: (lambda night: 1.0,),
    stages.MARTS.name: (lambda night: night.all_events + MARTS_IN_EVENTS, lambda night: night.events),
    stages.MARTS_CHECK.name: (lambda night: 1.0,),
}
"""Stage -> what its seconds grow with; 1 is the share that every night has."""


@dataclass(frozen=True)
class Measured:
    """A night that was measured."""

    night: Workload
    seconds: dict[str, float]
    gib: dict[str, float]
    by: dict[str, Any]
    """processor, cores, memory_gib, date, commit, command."""


def read_rates(file: Path = RATES) -> list[Measured]:
    """The measured nights."""
    return [
        Measured(
            Workload(**each["night"]),
            {stage: cost["s"] for stage, cost in each["stages"].items()},
            {stage: cost["gib"] for stage, cost in each["stages"].items()},
            each["measured"],
        )
        for each in json.loads(file.read_text(encoding="utf8"))["nights"]
    ]


def predict(measured: Sequence[Measured], night: Workload) -> dict[str, float]:
    """Stage -> seconds on one machine of the measured kind. A night without training has none of its stages."""
    wanted = [stage for stage in DRIVERS if night.trained or stage not in TRAINING]
    return {stage: _seconds(stage, [each for each in measured if stage in each.seconds], night) for stage in wanted}


def _seconds(stage: str, measured: Sequence[Measured], night: Workload) -> float:
    """Non-negative least squares of the relative errors, so that small nights count as much as large ones."""
    rows = np.array([[driver(each.night) for driver in DRIVERS[stage]] for each in measured], dtype=float)
    seconds = np.array([each.seconds[stage] for each in measured])
    scale = np.maximum(rows.max(axis=0), 1e-12)
    shares, _ = nnls(rows / scale / seconds[:, None], np.ones(len(seconds)))
    return float(
        sum(share / unit * driver(night) for share, unit, driver in zip(shares, scale, DRIVERS[stage], strict=True))
    )


@dataclass(frozen=True)
class Prices:
    """What a machine of the measured kind costs: assumptions, not facts about any provider."""

    machine_hour: float
    gib_month: float


@dataclass(frozen=True)
class Estimate:
    """A night on paper."""

    stages: dict[str, float]
    """Stage -> seconds on one machine; training is spread over the nights of `every_days`."""
    seconds: float
    """Of a night on one machine, without training."""
    training_seconds: float
    """Of one training with gate 2, and of the full refresh after it beyond an ordinary night."""
    gib: float
    """Memory that a machine needs."""
    disk_gib: float
    machines: int | None
    """Machines for the night to fit its window; None: none are enough, one process's stages take longer."""
    money: float | None
    """Of a night, training's share included."""
    money_per_thousand_users: float | None
    warnings: list[str]


def estimate(
    users: int, items: int, events: int, *, days: int, every_days: int, hours: float, loss: float, prices: Prices
) -> Estimate:
    """What a night costs, by the measured nights."""
    measured = read_rates()
    night = ordinary_night(users, items, events, days)
    usual, full = predict(measured, night), predict(measured, full_refresh(night))
    seconds, training = sum(usual.values()), sum(full.values()) - sum(usual.values())
    single = sum(took for stage, took in usual.items() if stage in SINGLE)
    machines = machines_for(single, seconds - single, hours * 3600, loss)
    disk = sum(getattr(night, name) * size for name, size in LAKE_BYTES.items()) + STORE_BYTES * users * KEPT_VERSIONS
    money = None
    if machines is not None:
        wall = single + (seconds - single) / _speedup(machines, loss)
        machine_hours = (machines * wall + training / every_days) / 3600
        money = machine_hours * prices.machine_hour + disk / GIB * prices.gib_month / DAYS_OF_A_MONTH
    return Estimate(
        {stage: round(usual.get(stage, took / every_days), 1) for stage, took in full.items()},
        round(seconds, 1), round(training, 1), max(max(each.gib.values()) for each in measured), round(disk / GIB, 1),
        machines, money, None if money is None else money / users * 1000, _warnings(users, items, events),
    )  # fmt: skip


def ordinary_night(users: int, items: int, events: int, days: int) -> Workload:
    """A night with `events` new events after `days` like it."""
    described_users, described_items = (math.ceil(DESCRIBED_SHARE * each) for each in (users, items))
    active = min(users, math.ceil(events / EVENTS_PER_ACTIVE_USER))
    return Workload(users, items, events, events * days, described_users, described_items, active, trained=False)


def full_refresh(night: Workload) -> Workload:
    """The same night after a training: everybody is scored."""
    return replace(night, scored_users=night.users, trained=True)


def machines_for(single: float, spread: float, window: float, loss: float) -> int | None:
    """The fewest machines on which a night fits a window, all in seconds. `loss`: what each doubling loses."""
    if single >= window:
        return None
    for machines in range(1, 10_001):
        if single + spread / _speedup(machines, loss) <= window:
            return machines
    return None


def _speedup(machines: int, loss: float) -> float:
    return machines * float((1 - loss) ** math.log2(machines))


def _warnings(users: int, items: int, events: int) -> list[str]:
    given = (("users", users, MEASURED_USERS), ("items", items, MEASURED_ITEMS), ("events", events, MEASURED_EVENTS))
    return [
        f"{number:,} {name} are outside {least:,} to {most:,}, where the model was measured or is near it"
        for name, number, (least, most) in given
        if not least <= number <= most
    ]


@click.command()
@click.option("--users", type=click.IntRange(1), required=True, help="Users with a list.")
@click.option("--items", type=click.IntRange(1), required=True, help="Items of the catalogue.")
@click.option("--events-per-day", "events", type=click.IntRange(1), required=True, help="New events of a night.")
@click.option("--days", type=click.IntRange(1), default=100, show_default=True, help="Days of history.")
@click.option("--every-days", type=click.IntRange(1), default=7, show_default=True, help="training.every_days.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True, help="The window.")
@click.option("--loss", type=click.FloatRange(0, 0.5), default=0.1, show_default=True, help="Lost by each doubling.")
@click.option("--machine-hour", type=click.FloatRange(0), default=0.2, show_default=True, help="Price; an assumption.")
@click.option("--gib-month", type=click.FloatRange(0), default=0.1, show_default=True, help="Price of a GiB of disk.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def cost(
    users: int, items: int, events: int, days: int, every_days: int, hours: float, loss: float, machine_hour: float,
    gib_month: float, as_json: bool,
) -> None:  # fmt: skip
    """Seconds, GiB, machines and money of a night, by the rates that ./run bench scale measured.

    Prices are in your currency. docs/scaling.md says how it is computed and where it ends to hold.
    """
    prices = Prices(machine_hour, gib_month)
    found = estimate(users, items, events, days=days, every_days=every_days, hours=hours, loss=loss, prices=prices)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("more machines")
    for stage, seconds in found.stages.items():
        shared = f", 1/{every_days} of a training's" if stage in TRAINING else ""
        table.add_row(stage, f"{seconds:,.1f}", ("no, one process" if stage in SINGLE else "yes") + shared)
    screen().print(table)
    click.echo("\n".join(_lines(found, users, hours)))


def _lines(found: Estimate, users: int, hours: float) -> list[str]:
    by = read_rates()[0].by
    lines = [
        f"a night on one machine: {found.seconds:,.0f} s; a training and the full refresh after it: "
        f"{found.training_seconds:,.0f} s more",
        f"memory {found.gib:.1f} GiB a machine; disk {found.disk_gib:,.1f} GiB, old versions of tables not counted",
    ]
    if found.machines is None or found.money is None or found.money_per_thousand_users is None:
        lines.append(f"no number of machines fits it into {hours:g} h: docs/scaling.md says which stage to change")
    else:
        lines.append(f"machines to fit it into {hours:g} h: {found.machines:,}")
        lines.append(f"money a night: {found.money:,.2f}; per thousand users: {found.money_per_thousand_users:,.5f}")
    measured = ", ".join(sorted({f"{each.by['command']} of {each.by['date']}" for each in read_rates()}))
    lines.append(f"rates: {measured}; a machine is {by['processor']}, {by['cores']} cores, {by['memory_gib']} GiB")
    return lines + [f"careful: {warning}" for warning in found.warnings]
