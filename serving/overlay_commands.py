"""`nightloom block`, `unblock`, `stock out|in|list`: items that leave every answer within two seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click
from rich.table import Table

from nightloom import settings as settings_module
from nightloom.terminal import screen
from serving.stores import Store, open_store, overlay
from serving.stores.base import NothingPublishedError
from serving.stores.overlay import Cause, Mark
from serving.stores.reader import Reader

WHY = click.option("--why", metavar="WHO: WHY", required=True, help="Who does it, and why: it is recorded.")
ITEMS = click.argument("items", metavar="ITEM...", nargs=-1, required=True)
JSON = click.option("--json", "json_out", is_flag=True, help="As JSON, with the last changes.")


@click.command()
@click.argument("items", metavar="[ITEM...]", nargs=-1)
@click.option("--why", metavar="WHO: WHY", help="Who blocks it, and why: it is recorded.")
@JSON
def block(items: tuple[str, ...], why: str | None, json_out: bool) -> None:
    """Take items out of every answer, until `unblock`. Without an ITEM: those that are blocked."""
    if not items:
        _list(Cause.BLOCKED, json_out)
        return
    if why is None:
        raise click.UsageError('Missing option --why "WHO: WHY".')
    store = open_store(settings_module.load())
    _report(store, items, overlay.add(store, Cause.BLOCKED, items, _checked(why)), "is blocked", "was blocked already")


@click.command()
@ITEMS
@WHY
def unblock(items: tuple[str, ...], why: str) -> None:
    """Let blocked items back into the lists."""
    store = open_store(settings_module.load())
    _report(store, items, overlay.remove(store, Cause.BLOCKED, items, _checked(why)), "is back", "was not blocked")


@click.group()
def stock() -> None:
    """Items that are out of stock: no answer has them until they are back."""


@stock.command("out")
@ITEMS
@WHY
def out_command(items: tuple[str, ...], why: str) -> None:
    """Take items out of every answer until they are back in stock."""
    store = open_store(settings_module.load())
    moved = overlay.add(store, Cause.OUT_OF_STOCK, items, _checked(why))
    _report(store, items, moved, "is out of stock", "was out of stock already")


@stock.command("in")
@ITEMS
@WHY
def in_command(items: tuple[str, ...], why: str) -> None:
    """Let items that are in stock again back into the lists."""
    store = open_store(settings_module.load())
    moved = overlay.remove(store, Cause.OUT_OF_STOCK, items, _checked(why))
    _report(store, items, moved, "is in stock again", "was not out of stock")


@stock.command("list")
@JSON
def list_command(json_out: bool) -> None:
    """The items that are out of stock."""
    _list(Cause.OUT_OF_STOCK, json_out)


def _checked(why: str) -> str:
    who, colon, reason = why.partition(":")
    if not (who.strip() and colon and reason.strip()):
        raise click.UsageError(f'--why is "{why}", expected "WHO: WHY", such as "ann: recalled by its maker".')
    return why


def _report(store: Store, items: Sequence[str], moved: list[str], done: str, nothing: str) -> None:
    names = list(dict.fromkeys(items))
    for item, title in zip(names, _titles(store, names), strict=True):
        click.echo(f"{item}{f' ({title})' if title != item else ''} {done if item in moved else nothing}")


def _list(cause: Cause, json_out: bool) -> None:
    store = open_store(settings_module.load(), reading=True)
    found = overlay.read(store)
    marks: Mapping[str, Mark] = getattr(found, cause)
    if json_out:
        changes = [asdict(change) for change in found.changes if change.cause == cause]
        click.echo(json.dumps({cause: {item: asdict(mark) for item, mark in marks.items()}, "changes": changes}))
        return
    table = Table("item", "title", "since (UTC)", "who and why", box=None, pad_edge=False)
    for (item, mark), title in zip(marks.items(), _titles(store, list(marks)), strict=True):
        table.add_row(item, title, mark.at[:19], mark.why)
    screen().print(table if marks else f"No item is {cause.replace('_', ' ')}.")


def _titles(store: Store, items: list[str]) -> list[str]:
    """Titles of the served version; ids before the first publish."""
    try:
        return Reader(store).current().titles(items)
    except NothingPublishedError:
        return items
