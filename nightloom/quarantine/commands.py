"""`nightloom quarantine list|show|replay|discard`: the commands for unusable records."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
from rich.table import Table as Grid

from nightloom.contracts import QUARANTINE_ROWS
from nightloom.errors import NightloomError
from nightloom.lake import Lake
from nightloom.literals import sql_text
from nightloom.quarantine.records import (
    DISCARDED,
    REPLAYED,
    WAITING,
    Row,
    add_outcomes,
    filter_sql,
    find_rows,
    read_rows,
    record_decision,
    replay_rows,
)
from nightloom.settings import load
from nightloom.terminal import screen

DEFAULT_LIMIT = 20
"""Rows that `show` prints by default."""
BY = click.option("--by", help="Your name; default: the user of this machine.")


class QuarantineError(NightloomError):
    """No row in quarantine matches the filters, or a mended record cannot be read."""


@click.group()
def quarantine() -> None:
    """Unusable records: look, mend, replay or discard."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that filter rows, the same for every command."""
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
def list_(as_json: bool, **filters: Any) -> None:
    """The number of rows by source, reason and state."""
    where = _filter(filters)
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
@click.option(
    "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="Rows printed as text."
)
@click.option("--json", "as_json", is_flag=True, help="All rows, one JSON object a line: what `replay --from` reads.")
def show(state: str | None, limit: int, as_json: bool, **filters: Any) -> None:
    """The rows: what was found, what was expected, and their outcome."""
    lake, where = _lake(), _filter(filters)
    where = f"{where} AND state = {sql_text(state)}" if state else where
    rows = int(lake.rows(QUARANTINE_ROWS, where, ["count(*) AS n"])["n"][0].as_py())
    shown = read_rows(lake, where, None if as_json else limit)
    add_outcomes(lake, shown)
    for row in shown:
        click.echo(json.dumps(row, default=str, ensure_ascii=False) if as_json else _format_row(row))
    if rows > len(shown):
        click.echo(f"... {rows - limit:,} more; --limit {rows} or --json shows all.")


@quarantine.command()
@_filters
@click.option("--everything", is_flag=True, help="All rows that wait; otherwise choose with the options above.")
@click.option("--raw", help="The mended record, for one row.")
@click.option(
    "--from", "file", type=click.Path(exists=True, path_type=Path), help="Mended rows: row_id and raw a line."
)
@click.option("--why", default="replayed", show_default=True, help="Stored with each row and your name.")
@BY
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def replay(
    everything: bool, raw: str | None, file: Path | None, why: str, by: str | None, dry_run: bool, **filters: Any
) -> None:
    """Put rows into bronze again: after nightloom.toml was mended, or with mended records."""
    lake = _lake()
    mended = _read_mended(file) if file else {}
    if mended and any(filters.values()):
        raise click.UsageError("--from names its rows itself; leave the other choices out.")
    rows = _waiting_rows(lake, everything, filters, mended)
    if raw is not None:
        if len(rows) != 1:
            raise QuarantineError(f"--raw mends one row, but {len(rows):,} were chosen; name one with --row")
        mended = {rows["row_id"][0].as_py(): raw}
    if not dry_run:
        replay_rows(lake, rows, mended, _signature(by, why))
    what = "would go in again" if dry_run else "went in again"
    click.echo(f"{len(rows):,} rows {what}, {len(mended):,} of them mended; the next night takes them.")


@quarantine.command()
@_filters
@click.option("--everything", is_flag=True, help="All rows that wait; otherwise choose with the options above.")
@click.option("--why", required=True, help="Stored with each row and your name.")
@BY
def discard(everything: bool, why: str, by: str | None, **filters: Any) -> None:
    """Mark rows as not worth mending. They stay in bronze and in quarantine."""
    lake = _lake()
    rows = _waiting_rows(lake, everything, filters)
    record_decision(lake, rows["row_id"].to_pylist(), DISCARDED, _signature(by, why))
    click.echo(f"{len(rows):,} rows discarded.")


def _waiting_rows(lake: Lake, everything: bool, filters: dict[str, Any], ids: Collection[str] = ()) -> pa.Table:
    """row_id, kind and raw of the waiting rows that match the filters. Raises QuarantineError when there are none.

    `ids` are complete row ids, as many as there are.
    """
    if not everything and not ids and not any(filters.values()):
        raise click.UsageError("choose rows with --row, --reason, --source or --night, or take --everything.")
    rows = find_rows(lake, f"{_filter(filters)} AND state = '{WAITING}'", ("row_id", "kind", "raw"), ids)
    if not rows.num_rows:
        raise QuarantineError("no waiting row fits; `nightloom quarantine list` says what is there")
    return rows


def _read_mended(file: Path) -> dict[str, str]:
    """Row id -> record, from a file of JSON lines. Raises QuarantineError that names the line."""
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


def _filter(filters: Mapping[str, Any]) -> str:
    night = filters["night"].date() if filters["night"] else None
    return filter_sql(filters["row_ids"], night, filters["source"], filters["reason"])


def _format_row(row: Row) -> str:
    """A row as text."""
    by = f" ({row['decided_by']})" if row["decided_by"] else ""
    lines = [
        f"{row['row_id'][:12]}  {row['night']}  {row['source']}  {row['reason']}: {row['detail']}",
        f"    {row['raw']}",
        f"    from {row['file']}; {row['became']}{by}",
    ]
    return "\n".join(lines)


def _signature(by: str | None, why: str) -> str:
    return f"{by or getpass.getuser()}: {why}"


def _lake() -> Lake:
    return Lake(load().place("lake"))
