"""`nightloom slate preview`: what the slate rules do to a user's list, for a person at a terminal."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click
from rich.table import Table

from nightloom import settings as settings_module
from nightloom.lake import as_json
from nightloom.terminal import screen

if TYPE_CHECKING:
    from serving.slate_preview import Preview


@click.group()
def slate() -> None:
    """The rules that change the lists: docs/slate.md."""


@slate.command()
@click.argument("user")
@click.option("--date", "night", type=click.DateTime(["%Y-%m-%d"]), help="A night; default the newest.")
@click.option("--k", type=click.IntRange(min=1), help="How many places; default slate.k.")
@click.option("--json", "json_out", is_flag=True, help="Everything, as JSON.")
def preview(user: str, night: datetime | None, k: int | None, json_out: bool) -> None:
    """A user's list by score and by the rules of nightloom.toml as it is now; and which rule moved what."""
    from serving import slate_preview  # the registry and the model: only for this command

    found = slate_preview.build_preview(settings_module.load(), user, night.date() if night else None, k)
    if json_out:
        click.echo(as_json(asdict(found)))
        return
    console = screen()
    console.print(_lists(found))
    if found.steps:
        console.print()
        console.print(_steps(found))
    else:
        click.echo("nightloom.toml has no slate rules")
    click.echo(f"night of {found.night}, {found.model}; nothing was published")


def _lists(found: Preview) -> Table:
    table = Table(box=None, pad_edge=False, title=f"User {found.user}", title_justify="left")
    for name, justify in (("rank", "right"), ("by score", "left"), ("score", "right"), ("by the rules", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich wants its literal
    table.add_column("score", justify="right")
    table.add_column("moved up by")
    for rank in range(max(len(found.before), len(found.after))):
        before, after = (lines[rank] if rank < len(lines) else None for lines in (found.before, found.after))
        left = (before.title, f"{before.score:.4f}") if before else ("", "")
        right = (after.title, f"{after.score:.4f}", after.rule or "") if after else ("", "", "")
        table.add_row(str(rank + 1), *left, *right)
    return table


def _steps(found: Preview) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "kind", "brought to the first page", "took from it"):
        table.add_column(name)
    table.add_column("relevance lost", justify="right")
    for step in found.steps:
        brought = ", ".join(step.brought) or ("(another order)" if step.moved else "-")
        table.add_row(step.rule, step.kind, brought, ", ".join(step.took) or "-", f"{step.relevance_lost:.3f}")
    return table
