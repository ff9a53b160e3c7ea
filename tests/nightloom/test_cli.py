"""The command line: every word is there and leads to a command, errors are one line with a true exit code."""

import errno
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nightloom import cli
from nightloom.errors import ExitCode, GateClosedError, NightloomError, machine_fault
from serving.stores.pushes import PinnedError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("word", cli.WORDS)
def test_every_word_leads_to_a_command_with_help(word: str) -> None:
    module, attribute = cli.WORDS[word][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help


def test_help_names_every_word_and_imports_none_of_them() -> None:
    heavy = ("duckdb", "pyarrow", "airflow", "torch", "pyspark", "starlette")
    code = (
        "import sys; from nightloom.cli import main; sys.argv = ['nightloom', '--help']\n"
        f"try: main()\nexcept SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"  {word} " in done.stdout for word in cli.WORDS)
    assert done.stdout.endswith("[]\n")


def test_reading_commands_take_json() -> None:
    for word in ("status", "sql", "tables", "recommend", "explain"):
        assert "--json" in CliRunner().invoke(cli.nightloom, [word, "--help"]).output, word


def test_an_unknown_word_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli.nightloom, ["recomend"])
    assert result.exit_code == 2
    assert "recomend" in result.output


def test_each_exit_code_has_one_meaning_and_stands_in_the_documents() -> None:
    page = (ROOT / "docs" / "night.md").read_text(encoding="utf8")
    table = dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE))
    assert list(table) == [str(code.value) for code in ExitCode]
    errors = [each for each in every_error(NightloomError) if "exit_code" in vars(each)]
    assert {each.exit_code for each in errors} <= set(ExitCode)
    assert {each for each in errors if each.exit_code == ExitCode.CLOSED} == {GateClosedError, PinnedError}


def every_error(parent: type[NightloomError]) -> Iterator[type[NightloomError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from every_error(child)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/lake"), "the disk is full: .*/lake"),
        (RuntimeError("Generic LocalFileSystem error: write: Read-only file system (os error 30)"), "is read-only: "),
        (RuntimeError("Generic S3 error: <Error><Code>AccessDenied</Code></Error>"), "object storage refuses access: "),
        (RuntimeError("HTTP error: error sending request for url"), "object storage does not answer: "),
        (ValueError("no number"), None),
    ],
)
def test_an_error_of_the_machine_is_one_line(error: Exception, words: str | None) -> None:
    wrapped = RuntimeError("an outer error\nof two lines")
    wrapped.__cause__ = error
    fault = machine_fault(wrapped)
    assert fault is None if words is None else fault and re.search(words, fault)


def test_our_errors_are_one_line_and_their_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightloom", "--config", str(tmp_path / "nightloom.toml"), "status"])
    monkeypatch.setenv("NIGHTLOOM_CONFIG", "restored afterwards")
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("nightloom: ")
    assert error.count("\n") == 1
