"""`nightloom init FILE...` drafts a project from files; `nightloom check` shows what a night makes of a project."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from nightloom.errors import DataError, ExitCode, NightloomError, SettingsError, printable
from nightloom.places import write_text
from nightloom.settings import config_file, load
from nightloom.terminal import screen
from spark_jobs.draft.preview import Preview, open_night, preview
from spark_jobs.draft.project import HOLDOUT_DAYS, ProjectDraft, draft_project
from spark_jobs.landing import visible_files

COLUMNS = "source", "files", "rows", "good", "skipped", "quarantine", "why"
MAX_DETAIL = 200  # characters
SHARE_OF_DAYS = 4  # a quarter of the days judges, where there are few


class UndecidedError(NightloomError):
    """A draft was written, and no night can run before somebody answers its questions."""

    exit_code = ExitCode.UNDECIDED


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--force", is_flag=True, help="Write over a nightloom.toml that is there.")
def init(files: tuple[Path, ...], force: bool) -> None:
    """Draft nightloom.toml from your FILES (or folders of files), and show what a night makes of them.

    What the files leave open stands as a QUESTION in nightloom.toml. Exit code 4: a night needs an answer first.
    """
    config = config_file()
    if config.exists() and not force:
        raise SettingsError(f"{config} is there already; --force writes over it")
    draft = draft_project(_files(files), config.parent)
    _copy(draft)
    write_text(config, draft.text())
    for name in draft.left_out:
        click.echo(f"left out {printable(name)}: it has no columns")
    click.echo(f"{config}: {sum(len(each.sources) for each in draft.drafts)} sources")
    _show_questions(draft)
    if not draft.is_complete:
        raise UndecidedError(f"answer the questions above in {config}, then run `nightloom check`")
    found = preview(open_night(load(config)))
    if (days := found.days // SHARE_OF_DAYS) < HOLDOUT_DAYS:
        write_text(config, draft.text(max(1, days)))
        load(config)
    _show(found)
    _require_good_rows(found)
    click.echo(f"next: nightloom night --date {found.last}")


@click.command()
def check() -> None:
    """Show what a night makes of the files that are there, from a sample of each, in seconds. Nothing is written.

    Exit code 1: a source has no good row. Exit code 2: nightloom.toml is wrong.
    """
    found = preview(open_night(load()))
    _show(found)
    _require_good_rows(found)


def _files(given: Sequence[Path]) -> list[Path]:
    """The files that arguments name, absolute; a folder stands for those in it."""
    places = [place.absolute() for place in given]
    found = [file for place in places for file in (visible_files(place) if place.is_dir() else [place])]
    if not found:
        raise SettingsError(f"{printable(str(given[0]))} has no files")
    return [*dict.fromkeys(found)]


def _copy(draft: ProjectDraft) -> None:
    """Copy files into landing folders, with their times: an event without a time gets that of its file."""
    for file, target in draft.copies.items():
        if target.exists() and _state(target) != _state(file):
            raise SettingsError(f"{target} is there already, and is another file than {file}; move it away")
    for file, target in draft.copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.with_name(f".{target.name}")
        shutil.copy2(file, hidden)
        hidden.replace(target)
        click.echo(f"copied {file} to {target.parent}, which the night reads")


def _state(file: Path) -> tuple[int, float]:
    """Bytes, and seconds since 1970."""
    status = file.stat()
    return status.st_size, status.st_mtime


def _show_questions(draft: ProjectDraft) -> None:
    for source, question in draft.questions:
        click.echo(f"QUESTION {source}, {question.key}: {printable(question.text)}")


def _show(found: Preview) -> None:
    table = Table(*COLUMNS, title="What a night makes of a sample")
    for source in found.sources:
        why = [f"{rule} {rows:,}" for rule, rows in source.skipped.most_common()]
        for reason, rows in source.quarantined.most_common():
            why.append(f"{reason} {rows:,}: {printable(source.details[reason])[:MAX_DETAIL]}")
        numbers = (source.files, source.read, source.good, source.skipped.total(), source.quarantined.total())
        table.add_row(source.name, *(f"{number:,}" for number in numbers), "; ".join(why))
    screen().print(table)
    span = f"{found.first} to {found.last}" if found.first else "none"
    click.echo(f"users {found.users:,}, items {found.items:,}, likes {found.likes:,}, days {found.days:,} ({span})")


def _require_good_rows(found: Preview) -> None:
    if empty := [source.name for source in found.sources if not source.good]:
        raise DataError(f"no row of {', '.join(empty)} is good; the table above says why")
