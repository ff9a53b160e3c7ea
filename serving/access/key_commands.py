"""`nightloom keys create|list|revoke|rotate`: who may ask the API what."""

from __future__ import annotations

import re
from datetime import timedelta

import click
from rich.table import Table

from nightloom import settings as settings_module
from nightloom.lake import as_json, now
from nightloom.terminal import screen
from serving.access.keys import Key, NewKey, Scope, add_key, make_key, read_keys, revoke_key, rotate_key

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
PER_SECOND = 1000.0


class Duration(click.ParamType[timedelta]):
    """A number and a unit, such as 90d or 24h."""

    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,5})([smhd])", value)
        if found is None:
            self.fail(f"found '{value}', expected a number and s, m, h or d, such as 90d or 24h", param, ctx)
        return timedelta(**{UNITS[found[2]]: int(found[1])})


@click.group()
def keys() -> None:
    """Keys of the API: each has a name, scopes, limits and an end. A server reads a change within two seconds."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice([each.value for each in Scope]), multiple=True, required=True,
    help="What it may do; may be repeated.",
)  # fmt: skip
@click.option("--expires", type=Duration(), help="It ends after so long, such as 90d; by default never.")
@click.option(
    "--per-second", type=click.FloatRange(min=0, min_open=True, max=1e6), default=PER_SECOND, show_default=True,
    help="Requests a second that an instance answers.",
)  # fmt: skip
@click.option(
    "--burst", type=click.IntRange(1, 1_000_000), help="Requests at one moment; by default those of a second."
)
def create(name: str, scopes: tuple[str, ...], expires: timedelta | None, per_second: float, burst: int | None) -> None:
    """Make a key for NAME and print it. It is shown this once, and never again."""
    if not (name.isprintable() and 1 <= len(name.strip()) <= 80):
        raise click.BadParameter("expected 1 to 80 visible characters", param_hint="NAME")
    ends = now() + expires if expires is not None else None
    new = make_key(name.strip(), map(Scope, scopes), per_second, burst or max(1, round(per_second)), ends)
    add_key(settings_module.load().place("access"), new.key)
    _show(new)


@keys.command("list")
@click.option("--json", "json_out", is_flag=True, help="Everything but the digests, as JSON.")
def list_command(json_out: bool) -> None:
    """Every key that was ever made."""
    ring = read_keys(settings_module.load().place("access"))
    if json_out:
        click.echo(as_json([_described(key) for key in ring.keys]))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "id", "state", "scopes", "created (UTC)", "expires (UTC)", "a second", "burst"):
        table.add_column(column, justify="right" if column in ("a second", "burst") else "left")
    for key in ring.keys:
        ends = f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never"
        table.add_row(
            key.name, key.id, key.state(now()), " ".join(sorted(key.scopes)), f"{key.created_at:%Y-%m-%d %H:%M}", ends,
            f"{key.per_second:g}", str(key.burst),
        )  # fmt: skip
    screen().print(table)


@keys.command()
@click.argument("name")
def revoke(name: str) -> None:
    """End the keys of NAME now, or the one key with this id. Its sessions in the console end, too."""
    for key in revoke_key(settings_module.load().place("access"), name):
        click.echo(f"Revoked: {key.name} ({key.id}).")


@keys.command()
@click.argument("name")
@click.option("--overlap", type=Duration(), default="24h", show_default=True, help="The old key works for so long.")
def rotate(name: str, overlap: timedelta) -> None:
    """Make a new key for NAME with the same scopes and limits, and print it. The old key ends after the overlap."""
    _show(rotate_key(settings_module.load().place("access"), name, overlap))


def _show(new: NewKey) -> None:
    """The key alone goes to stdout, so that a program can take it."""
    click.echo(new.text)
    scopes = ", ".join(sorted(new.key.scopes))
    ends = f"until {new.key.expires_at:%Y-%m-%d %H:%M} UTC" if new.key.expires_at else "until it is revoked"
    click.echo(f"The key of {new.key.name} ({scopes}), {ends}. It is not shown again: store it now.", err=True)


def _described(key: Key) -> dict[str, object]:
    ends = key.expires_at and key.expires_at.isoformat()
    revoked = key.revoked_at and key.revoked_at.isoformat()
    return {
        "id": key.id, "name": key.name, "state": key.state(now()), "scopes": sorted(key.scopes),
        "created_at": key.created_at.isoformat(), "expires_at": ends, "revoked_at": revoked,
        "per_second": key.per_second, "burst": key.burst,
    }  # fmt: skip
