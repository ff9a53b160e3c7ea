"""`nightloom backup` and `nightloom restore`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nightloom import settings as settings_module
from nightloom.backup import Backup, Repository
from nightloom.local.airflow_setup import exclusive_folder
from nightloom.places import place_at, replacement
from nightloom.settings import CONFIG_VARIABLE
from serving import backup as backups
from serving import backup_contents as contents

MIB = 2**20


@click.command()
@click.argument("place")
@click.option("--keep", type=click.IntRange(1), help="Delete all backups in PLACE but the newest so many.")
def backup(place: str, keep: int | None) -> None:
    """Back the project up into PLACE, a folder or an address such as s3://BUCKET/FOLDER.

    A further backup copies only what is new. Services may go on; a night that writes all the time is an error.
    """
    settings = settings_module.load()
    where = place_at(place)
    if isinstance(where, Path):
        where.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds personal data, and Airflow's keys
    repository = Repository(where)
    taken = backups.take(settings, repository)
    click.echo(f"{taken.name}: {_summary(taken.backup)}; {taken.copied / MIB:,.1f} MiB of them new")
    for line in taken.backup.facts["not_covered"]:
        click.echo(f"not in it: {line}")
    if keep is not None:
        old, unused = repository.prune(keep)
        click.echo(f"deleted {old:,} older backups and {unused:,} contents that only they had")


@click.command()
@click.argument("place")
@click.option("--backup", "name", help="Name of the backup; default: the newest.")
@click.option("--replace", is_flag=True, help="Give what is there another name.")
@click.option("--check", is_flag=True, help="Read and compare every content; restore nothing.")
@click.option("--list", "list_only", is_flag=True, help="Only list the backups.")
def restore(place: str, name: str | None, replace: bool, check: bool, list_only: bool) -> None:
    """Restore the project from PLACE, whole or not at all.

    Without --replace nothing may stand where it goes. nightloom.toml and landing files that are there stay.
    """
    repository = Repository(place_at(place))
    if list_only:
        for each in repository.names():
            click.echo(f"{each}: {_summary(repository.read(each))}")
        return
    found = repository.read(name)
    if check:
        repository.require_complete(found.files)
        for file in found.files:
            repository.fetch(file)
        click.echo(f"whole: {_summary(found)}")
        return
    _restore_config(repository, found)
    settings = settings_module.load()
    with exclusive_folder(settings, "nightloom restore"):
        done = backups.put_back(settings, repository, found, replace=replace)
    for line in done.moved:
        click.echo(f"renamed: {line}")
    for path in done.kept:
        click.echo(f"kept, other than in the backup: {path}")
    click.echo(f"restored: {_summary(found)}. `nightloom status` shows its nights")
    for line in found.facts["not_covered"]:
        click.echo(f"not in it: {line}")
    here = backups.packages()
    for package, version in found.facts["packages"].items():
        if here[package] != version:
            click.echo(f"taken with {package} {version}, here is {here[package]}: docs/backup.md, Upgrades")


def _summary(backup: Backup) -> str:
    facts, size = backup.facts, backup.bytes / MIB
    what = f"{len(facts['tables'])} tables, {len(backup.files):,} files, {size:,.1f} MiB"
    return f"{facts['project']}, {backup.taken_at[:19]}: {what}"


def _restore_config(repository: Repository, backup: Backup) -> None:
    """Restore nightloom.toml where there is none: it says where everything else goes."""
    path = Path(os.environ.get(CONFIG_VARIABLE) or contents.CONFIG).absolute()
    if path.exists():
        return
    for file in backup.files:
        if file.part == contents.CONFIG:
            with replacement(path) as copy:
                repository.fetch(file, copy)
            click.echo(f"restored: {path}")
