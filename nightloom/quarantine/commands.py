"""`nightloom quarantine list|show|replay|discard`: a person's way to the records that could not be used."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table as Grid

from nightloom.contracts import QUARANTINE_ROWS
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.quarantine import records as rows_module
from nightloom.quarantine.records import DISCARDED, REPLAYED, WAITING, Row, became, decide, replayed, rows_of
from nightloom.settings import load
from nightloom.terminal import screen

SHOWN = 20
"""Rows that `show` prints unless it is asked for more."""


class QuarantineError(NightloomError):
    """Nothing is in quarantine that fits what was asked for, or a mended record cannot be read."""


@click.group()
def quarantine() -> None:
    """Records that could not be used: look, mend, replay or discard."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose rows, the same for every word."""
    for option in (
        click.option("--row", "row_ids", multiple=True, metavar="ID", help="Row id, or the start of one; repeatable."),
        click.option("--night", type=click.DateTime(["%Y-%m-%d"]), help="Night that put it there."),
        click.option("--source", help="Source, as in nightloom.toml."),
        click.option("--reason", help="Reason, e.g. type."),
    ):
        command = option(command)
    return command


@quarantine.command("list")
@_filters
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool, **chosen: Any) -> None:
    """How many rows for which reason, and in which state."""
    where = _where(chosen)
    columns = ["kind", "source", "reason", "state", "count(*) AS rows", "min(night) AS first", "max(night) AS last"]
    found = _lake().rows(QUARANTINE_ROWS, f"{where} GROUP BY 1, 2, 3, 4 ORDER BY rows DESC, 1, 2, 3, 4", columns)
    groups = found.to_pylist()
    if as_json:
        sys.stdout.write(json.dumps(groups, indent=1, default=str) + "\n")
        return
    grid = Grid("kind", "source", "reason", "state", "rows", "first night", "last night")
    grid.columns[4].justify = "right"
    for group in groups:
        rows, first, last = f"{group['rows']:,}", str(group["first"]), str(group["last"])
        grid.add_row(group["kind"], group["source"], group["reason"], group["state"], rows, first, last)
    screen().print(grid)


@quarantine.command()
@_filters
@click.option("--state", type=click.Choice([WAITING, REPLAYED, DISCARDED]), help="Only rows in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="Rows printed as text.")
@click.option("--json", "as_json", is_flag=True, help="All rows, one JSON object a line: what `replay --from` reads.")
def show(state: str | None, limit: int, as_json: bool, **chosen: Any) -> None:
    """The rows: what was found, what was expected, and what became of them."""
    lake, where = _lake(), _where(chosen)
    rows = rows_of(lake, f"{where} AND state = {sql_text(state)}" if state else where)
    shown = rows if as_json else rows[:limit]
    became(lake, shown)
    for row in shown:
        click.echo(json.dumps(row, default=str, ensure_ascii=False) if as_json else _told(row))
    if len(rows) > len(shown):
        click.echo(f"... {len(rows) - limit:,} more; --limit {len(rows)} or --json shows all.")


@quarantine.command()
@_filters
@click.option("--everything", is_flag=True, help="All rows that wait; otherwise choose with the options above.")
@click.option("--raw", help="The mended record, for one row.")
@click.option(
    "--from", "file", type=click.Path(exists=True, path_type=Path), help="Mended rows: row_id and raw a line."
)
@click.option("--why", default="replayed", show_default=True, help="Kept beside each row, with your name.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def replay(everything: bool, raw: str | None, file: Path | None, why: str, dry_run: bool, **chosen: Any) -> None:
    """Bring rows in again: after the rule in nightloom.toml was mended, or with a mended record."""
    lake = _lake()
    mended = _mended(file) if file else {}
    if mended and any(chosen.values()):
        raise click.UsageError("--from names its rows itself; leave the other choices out.")
    chosen["row_ids"] = chosen["row_ids"] or tuple(mended)
    rows = _waiting(lake, everything, chosen)
    if raw is not None:
        if len(rows) != 1:
            raise QuarantineError(f"--raw mends one row, but {len(rows):,} were chosen; name one with --row")
        mended = {rows[0]["row_id"]: raw}
    if not dry_run:
        replayed(lake, rows, mended, _by(why))
    what = "would go in again" if dry_run else "went in again"
    click.echo(f"{len(rows):,} rows {what}, {len(mended):,} of them mended; the next night takes them.")


@quarantine.command()
@_filters
@click.option("--everything", is_flag=True, help="All rows that wait; otherwise choose with the options above.")
@click.option("--why", required=True, help="Kept beside each row, with your name.")
def discard(everything: bool, why: str, **chosen: Any) -> None:
    """Say that rows are not worth mending. They stay in bronze and in quarantine, marked."""
    lake = _lake()
    rows = _waiting(lake, everything, chosen)
    decide(lake, [row | {"state": DISCARDED} for row in rows], _by(why))
    click.echo(f"{len(rows):,} rows discarded.")


def _waiting(lake: Lake, everything: bool, chosen: dict[str, Any]) -> list[Row]:
    """Rows that wait and fit the choice. Raises QuarantineError when there are none."""
    if not everything and not any(chosen.values()):
        raise click.UsageError("choose rows with --row, --reason, --source or --night, or take --everything.")
    rows = rows_of(lake, f"{_where(chosen)} AND state = '{WAITING}'")
    if not rows:
        raise QuarantineError("no waiting row fits; `nightloom quarantine list` says what is there")
    return rows


def _mended(file: Path) -> dict[str, str]:
    """Row id -> record, of a file of JSON lines. Raises QuarantineError with the line."""
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf8").splitlines(), start=1):
        try:
            row = json.loads(line)
            found[str(row["row_id"])] = str(row["raw"])
        except (ValueError, KeyError, TypeError) as error:
            raise QuarantineError(
                f"{file}, line {number}: {error!r}; expected an object with row_id and raw, as `show --json` writes it"
            ) from None
    return found


def _where(chosen: Mapping[str, Any]) -> str:
    night = chosen["night"].date() if chosen["night"] else None
    return rows_module.chosen(chosen["row_ids"], night, chosen["source"], chosen["reason"])


def _told(row: Row) -> str:
    """A row for people."""
    by = f" ({row['decided_by']})" if row["decided_by"] else ""
    lines = [
        f"{row['row_id'][:12]}  {row['night']}  {row['source']}  {row['reason']}: {row['detail']}",
        f"    {row['raw']}",
        f"    from {row['file']}; {row['became']}{by}",
    ]
    return "\n".join(lines)


def _by(why: str) -> str:
    return f"{getpass.getuser()}: {why}"


def _lake() -> Lake:
    return Lake(load().place("lake"))
