"""`nightloom status`: the run records and the store's versions -> the last nights."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from typing import Any

import click

from nightloom.errors import StoreError
from nightloom.lake import Lake
from nightloom.local.remote_airflow import RunStatus, last_runs, remote_airflow
from nightloom.night.records import NIGHTLY
from nightloom.night.records import nights as recorded_nights
from nightloom.night.status import last_nights, show
from nightloom.settings import Settings, load
from nightloom.settings.checks import find_unreachable
from nightloom.terminal import iso
from serving.stores import open_store, versions
from serving.stores.pushes import SERVABLE, Push, PushState


@click.command()
@click.option("--nights", type=click.IntRange(min=1), default=3, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(nights: int, as_json: bool) -> None:
    """The last nights: where the seconds went, how many rows, what the gates found, which versions came out."""
    if (settings := load(reach=False)).places.airflow_url:
        with remote_airflow(settings) as api:
            runs = last_runs(api, NIGHTLY, nights)
        return _show_both(settings, runs, nights, as_json)
    settings = load()
    found = last_nights(Lake(settings.place("lake")), nights, _ask_store(settings))
    if as_json:
        _write([asdict(each) for each in found])
    elif not found:
        click.echo("No night has run yet. `nightloom night --date YYYY-MM-DD` runs one.")
    for each in [] if as_json else found:
        show(each)


def _show_both(settings: Settings, runs: list[RunStatus], nights: int, as_json: bool) -> None:
    """What an Airflow elsewhere does and did, and then the records, where this machine can read the lake."""
    lake = Lake(settings.place("lake"))
    readable = not list(find_unreachable(settings)) and recorded_nights(lake)
    found = last_nights(lake, nights, _ask_store(settings)) if readable else []
    if as_json:
        return _write({"airflow": [asdict(each) for each in runs], "nights": [asdict(each) for each in found]})
    for run in runs:
        click.echo(str(run))
    click.echo(
        "" if found else f"Rows, gates and versions are in the run records; this machine has none at {lake.root}."
    )
    for each in found:
        show(each)


def _write(content: Any) -> None:
    sys.stdout.write(json.dumps(content, default=iso, indent=1) + "\n")


def served_nights(pushes: Iterable[Push]) -> dict[date, str]:
    """Night -> its newest version that readers get or got, of the versions that the store still has."""
    served = (*SERVABLE, PushState.ROLLED_BACK)
    return {date.fromisoformat(push.night): str(push.version) for push in pushes if push.state in served}


def _ask_store(settings: Settings) -> dict[date, str]:
    try:
        return served_nights(versions.list_pushes(open_store(settings, reading=True)))
    except StoreError as error:
        click.echo(f"The store does not answer, so the run records alone say what was published: {error}", err=True)
        return {}
