"""`nightloom publish list|rollback|pin|unpin` and `nightloom store size`: versions and bytes for an operator."""

from __future__ import annotations

import json
from datetime import datetime

import click
from rich.table import Table

from nightloom import settings as settings_module
from nightloom.contracts import RECOMMENDATIONS, USERS
from nightloom.errors import StoreError
from nightloom.lake import Lake
from nightloom.terminal import screen
from serving.quota import GB, bytes_by_version
from serving.store_rows import SOURCES, StoreRows
from serving.stores import STORE_KINDS, open_store, store_class, versions
from serving.stores.base import KINDS
from serving.stores.pushes import PINNED, parse_version, version_name


@click.group()
def publish() -> None:
    """Versions of the served lists. The stage that publishes one is python -m serving.publish."""


@publish.command("list")
@click.option("--json", "json_out", is_flag=True, help="Every record, as JSON.")
def list_command(json_out: bool) -> None:
    """Every recorded push, newest first."""
    store = open_store(settings_module.load(), reading=True)
    pushes = versions.list_pushes(store)[::-1]
    if json_out:
        click.echo(json.dumps([vars(push) for push in pushes]))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "state", "night", "since (UTC)", "users", "MB", "why"):
        table.add_column(column, justify="right" if column in ("users", "MB") else "left")
    for push in pushes:
        facts = push.facts
        users = f"{facts['counts']['users']:,}" if "counts" in facts else ""
        size = f"{facts['bytes'] / 1e6:,.1f}" if "bytes" in facts else ""
        why = ": ".join(part for part in (push.reason, push.note) if part)
        table.add_row(version_name(push.version), push.state, push.night, push.changed_at[:19], users, size, why)
    screen().print(table)
    if (pinned := store.read_note(PINNED)) is not None:
        click.echo(f"Pinned: {pinned}")


@publish.command()
@click.argument("why")
def rollback(why: str) -> None:
    """Serve the backup before the current version, and mark the current one as bad for good. WHY is "WHO: WHY"."""
    bad, served = versions.rollback(open_store(settings_module.load()), why)
    click.echo(f"{version_name(bad)} is ROLLED_BACK; {version_name(served)} is served.")


@publish.command()
@click.argument("version")
@click.argument("why")
@click.option("--override", metavar="WHO: WHY", help="Serve a version that was rolled back.")
def pin(version: str, why: str, override: str | None) -> None:
    """Serve a retained VERSION (v000007, or 7) until `unpin`: no push replaces it. WHY is "WHO: WHY"."""
    number = parse_version(version) or (int(version) if version.isdigit() else None)
    if number is None:
        raise StoreError(f"'{version}' is no version; `nightloom publish list` shows them, such as v000007")
    push = versions.pin(open_store(settings_module.load()), number, why, override)
    click.echo(f"{version_name(push.version)} is served, the night of {push.night}, and stays until unpinned.")


@publish.command()
def unpin() -> None:
    """End a pin: the next push becomes current again."""
    versions.unpin(open_store(settings_module.load()))
    click.echo("Nothing is pinned; the next push becomes current.")


@click.group()
def store() -> None:
    """The serving store."""


@store.command()
@click.option("--date", "night", type=click.DateTime(["%Y-%m-%d"]), help="Default: the newest night that has lists.")
def size(night: datetime | None) -> None:
    """The bytes of a night's lists in each kind of store, and of all stored versions."""
    settings = settings_module.load()
    lake, current = Lake(settings.place("lake")), open_store(settings)
    used = bytes_by_version(current)
    newest = lake.rows(RECOMMENDATIONS, columns=["max(night) AS night"])["night"][0].as_py()
    date = night.date() if night else newest
    inputs = {table.full_name: lake.version(table) for table in (*SOURCES.values(), USERS) if lake.exists(table)}
    rows = StoreRows(lake, date, inputs, settings.place("scratch"))
    sizes = {kind: rows.sizes(kind) for kind in KINDS if kind != "histories" or settings.serving.live}
    click.echo(f"Night of {date}: " + ", ".join(f"{found.rows:,} {kind}" for kind, found in sizes.items()))
    table = Table("store", "GB a version", f"GB for store.keep = {settings.store.keep} and a new one", box=None)
    for kind in STORE_KINDS:
        one = store_class(kind).predict_bytes(sizes)
        own = " (this one)" if kind == settings.store.kind else ""
        table.add_row(kind + own, f"{one / GB:.3f}", f"{one * (settings.store.keep + 1) / GB:.3f}")
    screen().print(table)
    free, quota = current.free_bytes(), settings.store.quota_gb
    room = "" if free is None else f", {free / GB:,.3f} GB free"
    limit = "" if quota is None else f", store.quota_gb {quota:g}"
    click.echo(f"{current.location}: {len(used)} versions take {sum(used.values()) / GB:,.3f} GB{room}{limit}")
