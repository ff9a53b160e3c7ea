"""The prompt of `nightloom sql`, and completion in a shell."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from nightloom.cli import nightloom
from nightloom.contracts import TABLES
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.sql.prompt import HELP, SqlCompleter, run_prompt
from nightloom.sql.query import Catalog


@pytest.fixture
def typed(lake: Lake, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[str, str]]:
    """Type keys at the prompt of `nightloom sql` until it ends -> its output and its errors."""

    def run(keys: str) -> tuple[str, str]:
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            run_prompt(Catalog.from_settings(load()), Path("data/sql-history"), "csv")
        printed = capsys.readouterr()
        return printed.out.removeprefix(HELP + "\n"), printed.err

    return run


def test_the_prompt_answers_statements_of_several_lines_and_goes_on_after_an_error(
    typed: Callable[[str], tuple[str, str]],
) -> None:
    out, error = typed("SELECT item_id\rFROM silver.items\rWHERE item_id = '3';\rSELECT 1 FROM silver.itmes;\rquit\r")
    assert out == "item_id\n3\n"
    assert error == "no table silver.itmes in the lake; did you mean silver.items?\n"
    assert "+WHERE item_id = '3';" in Path("data/sql-history").read_text()


def test_the_prompt_draws_explains_tables_and_ends_with_the_input(typed: Callable[[str], tuple[str, str]]) -> None:
    out, error = typed("plot SELECT title, 1 AS n FROM silver.items;\rtables silver.items\rtables\rhelp\r\x04")
    assert "Film 1 ┤█" in out
    assert "Name to show" in out
    assert "gold.daily_activity" in out
    assert out.endswith(HELP + "\n")
    assert error == ""


def completed(text: str) -> list[str]:
    """The completions of the prompt at the end of a text."""
    found = SqlCompleter(TABLES).get_completions(Document(text, len(text)), CompleteEvent(completion_requested=True))
    return [completion.text for completion in found]


def test_the_prompt_completes_tables_columns_and_words() -> None:
    assert completed("SELECT * FROM gold.po") == ["gold.popular"]
    assert completed("select * from ")[0] == "bronze.events"
    assert completed("SELECT count(*) FROM silver.items WHERE avai") == ["available"]
    assert completed("SELECT count(*) FROM silver.items WHERE gold.it") == ["gold.item_days", "gold.item_stats"]
    assert completed("SEL") == ["select"]
    assert "title" not in completed("SELECT t")


def test_a_shell_completes_words_and_tables(lake: Lake) -> None:
    def offered(words: str, index: int) -> list[str]:
        variables = {"_NIGHTLOOM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        result = CliRunner().invoke(nightloom, [], prog_name="nightloom", env=variables, standalone_mode=True)
        return [line.partition(",")[2] for line in result.stdout.splitlines()]

    assert offered("nightloom sq", 1) == ["sql"]
    assert offered("nightloom tables silver.", 2) == [
        "silver.interactions",
        "silver.items",
        "silver.users",
        "silver.unused_rows",
    ]
