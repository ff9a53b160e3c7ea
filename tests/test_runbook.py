"""docs/runbook.md: each fault's section begins with a command, and that command exists, options and tables included."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from nightloom.cli import nightloom
from nightloom.contracts import TABLES
from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.sql.query import Catalog, run_query

PAGE = (Path(__file__).parents[1] / "docs" / "runbook.md").read_text(encoding="utf8")
SECTIONS = dict(re.findall(r"^## (.*)\n\n(.*)\n", PAGE, re.MULTILINE))
"""Fault -> the first line below its heading."""
FIRST = dict(re.findall(r"^## (.*)\n\n```sh\n(.*)\n```$", PAGE, re.MULTILINE))
"""Fault -> the command there."""
VALUES = {" D": " 2024-02-05", " A ": " 2024-02-05 ", " B": " 2024-02-06", "VERSION": "v000007"}
"""What stands for what a reader puts in."""


def parse(words: list[str]) -> click.Command:
    """The command that the words after `./run` call, its arguments parsed and not run. Raises click.UsageError."""
    command: click.Command = nightloom
    context, name = None, "nightloom"
    while True:
        context = command.make_context(name, words, parent=context)
        if not isinstance(command, click.Group):
            return command
        _, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        name, command = str(found.name), found


def commands() -> list[str]:
    """Every command of the page, with values for what a reader puts in."""
    found = re.findall(r"^(?:\./run|python -m) .*$|(?<=`)(?:\./run|python -m) [^`]*(?=`)", PAGE, re.MULTILINE)
    for name, value in VALUES.items():
        found = [re.sub(rf"{name}\b" if name[-1] != " " else name, value, command) for command in found]
    return sorted(set(found))


def test_each_fault_begins_with_the_first_command_to_type() -> None:
    assert SECTIONS.keys() == FIRST.keys()
    assert len(FIRST) >= 12


@pytest.mark.parametrize("fault", FIRST)
def test_the_first_command_exists(fault: str) -> None:
    words = shlex.split(FIRST[fault])
    if words[0] == "./run":
        parse(words[1:])
    else:
        assert shutil.which(words[0])


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_page_exists_with_its_options(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "./run":
        parse(words[1:])
        return
    module, options = words[2], [word for word in words[3:] if word.startswith("--")]
    assert module in {stage.name for stage in stages.ALL}
    source = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf8")
    assert [option for option in options if option != "--date" and f'"{option}"' not in source] == []


@pytest.mark.parametrize("fault", [fault for fault, command in FIRST.items() if command.startswith("./run sql")])
def test_the_sql_of_a_first_command_runs(fault: str, tmp_path: Path) -> None:
    lake, statement = Lake(tmp_path), shlex.split(FIRST[fault])[2]
    for table in TABLES:
        if table.full_name in statement:
            lake.create(table)
    assert list(run_query(Catalog(lake, TABLES), statement).rows) == []
