"""`nightloom model promote|demote|history`: set the champion by hand, and list who set it before, when and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.table import Table as Grid

from models import registry
from nightloom.lake import Lake, now
from nightloom.settings import Settings, load
from nightloom.terminal import screen
from training import champions
from training.champions import Change


@click.group()
def model() -> None:
    """The champion, whose lists are published: set another one, go back, list the changes."""


def _author_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the required options --by and --why."""
    for option, what in (("--why", "The reason."), ("--by", "Your name.")):
        metavar, text = option[2:].upper(), f"{what} Kept for good."
        command = click.option(option, required=True, metavar=metavar, help=text)(command)
    return command


@model.command()
@click.argument("version")
@_author_options
def promote(version: str, by: str, why: str) -> None:
    """Make a version the champion, whatever the verdict of gate 2 was."""
    _print_change(champions.promote(load(), version, by=by, why=why, run_id=_manual_run_id()))


@model.command()
@_author_options
def demote(by: str, why: str) -> None:
    """Go back to the previous champion; no gate promotes the demoted version again."""
    _print_change(champions.demote(load(), by=by, why=why, run_id=_manual_run_id()))


@model.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def history(as_json: bool) -> None:
    """Every change of the champion: when, by whom and why, and its refits, the last of which serves."""
    settings = load()
    rows = champions.changes(Lake(settings.place("lake")))
    refits = registry.refits(settings) if rows else {}
    rows = [row | {"refits": refits.get(row["version"], [])} for row in rows]
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str, ensure_ascii=False, indent=1) + "\n")
        return
    grid = Grid("since (UTC)", "champion", "", "instead of", "served as", "by", "why")
    for row in rows:
        since, champion = f"{row['changed_at']:%Y-%m-%d %H:%M}", f"version {row['version']} ({row['model']})"
        previous = row["previous_version"] or "-"
        served = ", ".join(row["refits"]) or row["version"]
        grid.add_row(since, champion, row["action"], previous, served, row["by"], row["why"])
    screen().print(grid)
    _warn_if_alias_differs(settings, rows)


def _warn_if_alias_differs(settings: Settings, rows: list[Change]) -> None:
    """Print a line if the alias is not at the version of the last row."""
    champion = registry.champion(settings)
    version, recorded = champion.version if champion else None, rows[-1]["version"] if rows else None
    if version != recorded:
        click.echo(f"MLflow's alias `champion` is at version {version}: something other than Nightloom moved it.")


def _print_change(change: dict[str, Any]) -> None:
    instead = f" instead of version {change['previous_version']}" if change["previous_version"] else ""
    serving = registry.serving_version(load())
    refit = serving if serving and serving.version != change["version"] else None
    scores = f"version {refit.version}, its refit" if refit else "it"
    click.echo(
        f"version {change['version']} ({change['model']}) is champion{instead}; the next night scores with {scores}."
    )


def _manual_run_id() -> str:
    return f"hand-{now():%Y%m%dT%H%M%S}"
