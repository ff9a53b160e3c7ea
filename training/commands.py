"""`nightloom model promote|demote|history`: a person's way to say which model scores, and to see who said so before."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.markup import escape
from rich.table import Table as Grid

from models import registry
from nightloom.lake import Lake, now
from nightloom.settings import Settings, load
from nightloom.terminal import screen
from training import champions
from training.champions import Change


@click.group()
def model() -> None:
    """The champion, whose lists are published: make another one, go back, see who was and why."""


def _signed(command: Callable[..., None]) -> Callable[..., None]:
    """Who, and why: kept for good."""
    for option in ("--why", "--by"):
        what = {"--by": "Your name.", "--why": "The reason."}[option]
        command = click.option(option, required=True, metavar=option[2:].upper(), help=f"{what} Kept for good.")(
            command
        )
    return command


@model.command()
@click.argument("version")
@_signed
def promote(version: str, by: str, why: str) -> None:
    """Make a version the champion, whatever gate 2 said of it."""
    _told(champions.promote(load(), version, by=by, why=why, run_id=_run()))


@model.command()
@_signed
def demote(by: str, why: str) -> None:
    """Go back to the champion before; no gate promotes the demoted version again."""
    _told(champions.demote(load(), by=by, why=why, run_id=_run()))


@model.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def history(as_json: bool) -> None:
    """Who was champion when, and why."""
    settings = load()
    rows = champions.changes(Lake(settings.place("lake")))
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str, ensure_ascii=False, indent=1) + "\n")
        return
    grid = Grid("since (UTC)", "champion", "", "instead of", "by", "why")
    for row in rows:
        since, who = f"{row['changed_at']:%Y-%m-%d %H:%M}", f"version {row['version']} ({row['model']})"
        grid.add_row(since, who, row["action"], row["previous_version"] or "-", escape(row["by"]), escape(row["why"]))
    screen().print(grid)
    _compared(settings, rows)


def _compared(settings: Settings, rows: list[Change]) -> None:
    """Say where the alias is not what was written down last."""
    champion = registry.champion(settings)
    now_is, last = champion.version if champion else None, rows[-1]["version"] if rows else None
    if now_is != last:
        click.echo(f"MLflow's alias `champion` is at version {now_is}: it was moved by something else than Nightloom.")


def _told(change: dict[str, Any]) -> None:
    instead = f" instead of version {change['previous_version']}" if change["previous_version"] else ""
    click.echo(f"version {change['version']} ({change['model']}) is champion{instead}; the next night scores with it.")


def _run() -> str:
    return f"hand-{now():%Y%m%dT%H%M%S}"
