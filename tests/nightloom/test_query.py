"""`nightloom sql` and `nightloom tables` as a person runs them, on real Delta tables."""

import csv
import io
import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from nightloom.cli import nightloom
from nightloom.contracts import ITEMS, TABLES, USERS
from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.sql.commands import parse_as_of
from nightloom.sql.marts import tables
from nightloom.sql.names import tables_in
from nightloom.sql.plot import PlotError
from nightloom.sql.prompt import HELP, SqlCompleter, run_prompt
from nightloom.sql.query import Catalog, QueryError

NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
Ask = Callable[..., str]


def item(number: int, **given: Any) -> dict[str, Any]:
    fixed = {
        "categories": ["drama", "war"], "attributes": [("year", "1995")], "available": True, "updated_at": NOON,
        "row_id": "r", "night": date(1998, 4, 21),
    }  # fmt: skip
    return {"item_id": str(number), "title": f"Film {number}"} | fixed | given


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Two films in version 2 of silver.items, a third since version 3: the first two made the table."""
    shutil.copy(Path(__file__).parents[2] / "nightloom.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    lake = Lake(tmp_path / "data" / "lake")
    lake.append(ITEMS, [item(1), item(2, title='Café, "noir"')])
    time.sleep(0.02)  # Delta keeps time in milliseconds, and one test asks for a moment in between
    lake.append(ITEMS, [item(3)])
    return lake


@pytest.fixture
def ask(lake: Lake) -> Ask:
    """Run a command of nightloom -> its output; its errors are raised."""

    def run(*words: str) -> str:
        result = CliRunner().invoke(nightloom, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_a_statement_gives_a_table(ask: Ask) -> None:
    shown = ask("sql", "SELECT item_id, title FROM silver.items ORDER BY item_id LIMIT 1")
    assert "item_id" in shown
    assert "Film 1" in shown
    assert "more rows" not in shown


def test_csv_is_complete_and_quoted_as_csv_wants(ask: Ask) -> None:
    rows = list(
        csv.reader(io.StringIO(ask("sql", "SELECT title, categories FROM silver.items ORDER BY item_id", "--csv")))
    )
    assert rows == [
        ["title", "categories"], ["Film 1", '["drama", "war"]'], ['Café, "noir"', '["drama", "war"]'],
        ["Film 3", '["drama", "war"]'],
    ]  # fmt: skip


def test_a_statement_may_come_by_a_pipe(lake: Lake) -> None:
    piped = CliRunner().invoke(nightloom, ["sql", "--csv"], input="SELECT count(*) AS n\nFROM silver.items;\n")
    assert piped.stdout == "n\n3\n"


def test_json_keeps_lists_maps_and_moments(ask: Ask) -> None:
    (row,) = json.loads(ask("sql", "SELECT * FROM silver.items WHERE item_id = '1'", "--json"))
    assert row["categories"] == ["drama", "war"]
    assert row["attributes"] == {"year": "1995"}
    assert (row["updated_at"], row["night"]) == ("1998-04-21T12:00:00+00:00", "1998-04-21")


def test_json_of_no_rows_is_an_empty_list(ask: Ask) -> None:
    assert json.loads(ask("sql", "SELECT * FROM silver.items WHERE false", "--json")) == []


def test_on_screen_long_results_end_with_how_many_more_there_are(ask: Ask, lake: Lake) -> None:
    lake.append(ITEMS, [item(number) for number in range(100, 200)])
    statement = "SELECT item_id FROM silver.items -- all of them"
    assert "... 53 more rows; --csv and --json give all." in ask("sql", statement)
    assert len(json.loads(ask("sql", statement, "--json"))) == 103


def test_tables_join_by_name_quoted_or_not(ask: Ask, lake: Lake) -> None:
    lake.create(USERS)
    rows = ask("sql", 'SELECT count(*) AS n FROM silver.items, (SELECT count(*) FROM "silver"."users") u', "--csv")
    assert rows == "n\n3\n"


def test_an_old_version_is_as_it_was(ask: Ask) -> None:
    assert ask("sql", "SELECT count(*) AS n FROM silver.items", "--version", "2", "--csv") == "n\n2\n"


def test_as_of_a_moment_and_as_of_a_day_which_means_its_end(ask: Ask, lake: Lake) -> None:
    today = datetime.now(UTC)
    assert ask("sql", "SELECT count(*) AS n FROM silver.items", "--as-of", f"{today:%Y-%m-%d}", "--csv") == "n\n3\n"
    second, first, *_ = (commit["timestamp"] / 1000 for commit in lake.open(ITEMS).history())
    moment = datetime.fromtimestamp((first + second) / 2, UTC).isoformat()
    assert ask("sql", "SELECT count(*) AS n FROM silver.items", "--as-of", moment, "--csv") == "n\n2\n"
    with pytest.raises(MissingTableError, match="did not exist at"):
        ask("sql", "SELECT 1 FROM silver.items", "--as-of", "2001-01-01")


def test_a_day_without_a_time_is_its_last_moment_and_all_is_utc() -> None:
    assert parse_as_of("2026-11-25") == datetime(2026, 11, 25, 23, 59, 59, 999999, tzinfo=UTC)
    assert parse_as_of("2026-11-25 06:30") == datetime(2026, 11, 25, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize("words", [("--as-of", "yesterday"), ("--as-of", "2026-01-01", "--version", "1")])
def test_a_state_that_cannot_be_meant_is_a_usage_error(words: tuple[str, ...], lake: Lake) -> None:
    result = CliRunner().invoke(nightloom, ["sql", "SELECT 1 FROM silver.items", *words])
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT * FROM silver.itmes", r"no table silver\.itmes in the lake; did you mean silver\.items\?"),
        ("SELECT * FROM items", r"no table items in the lake; did you mean bronze\.items or silver\.items\?"),
        ("SELECT * FROM lake", r"the tables are bronze\.events, "),
        ("SELECT * FROM ITEMS_OF", r"no table ITEMS_OF in the lake"),
        ("SELECT titel FROM silver.items", r"titel.*(\n.*)*Did you mean title of silver.items?"),
        ("SELECT i.xyz FROM silver.items i", r"(?s)xyz.*silver.items has item_id, title, "),
        ("SELEC 1", "syntax error"),
        ("DELETE FROM silver.items", "found DELETE, expected one SELECT"),
        ("COPY (SELECT 1) TO 'x.csv'", "found COPY, expected one SELECT"),
        ("SELECT 1; SELECT 2", "found SELECT and SELECT, expected one SELECT"),
        ("SET threads = 1", "found SET"),
        ("", "found nothing, expected one SELECT"),
    ],
)
def test_what_cannot_be_run_says_why_and_what_is_near(statement: str, message: str, ask: Ask) -> None:
    with pytest.raises(QueryError, match=message):
        ask("sql", statement)


def test_a_variable_of_the_program_is_no_table(ask: Ask) -> None:
    with pytest.raises(QueryError, match="no table named in the lake"):
        ask("sql", "SELECT * FROM named")


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1 FROM silver.items, silver.users"])
def test_a_version_needs_one_table(statement: str, ask: Ask) -> None:
    with pytest.raises(QueryError, match="--version needs a statement that names one table, found"):
        ask("sql", statement, "--version", "1")


def test_a_table_that_no_night_wrote_yet_is_an_error_that_says_so(ask: Ask) -> None:
    with pytest.raises(MissingTableError, match=r"gold\.popular is not in .* yet"):
        ask("sql", "SELECT * FROM gold.popular")


def test_complete_names_are_found_in_any_case_and_not_inside_others() -> None:
    found = tables_in(
        'SELECT * FROM Silver.ITEMS JOIN "gold" . "item_stats" USING (item_id), xsilver.users, silver.users2 '
        "WHERE x = 'gold.popular' -- and silver.users",
        TABLES,
    )
    assert [each.full_name for each in found] == ["silver.items", "gold.item_stats"]


def test_describe_and_explain_are_reading(ask: Ask) -> None:
    assert "MAP(VARCHAR, VARCHAR)" in ask("sql", "DESCRIBE silver.items")
    assert ask("sql", "EXPLAIN SELECT * FROM silver.items")


def test_tables_lists_every_table_with_its_rows_and_version(ask: Ask) -> None:
    listed = {each["name"]: each for each in json.loads(ask("tables", "--json"))}
    assert list(listed) == [each.full_name for each in TABLES]
    assert (listed["silver.items"]["rows"], listed["silver.items"]["version"]) == (3, 3)
    assert listed["gold.popular"]["rows"] is None
    shown = ask("tables")
    assert all(each.grain in shown for each in TABLES)


def test_a_table_is_described_by_key_columns_and_what_is_personal(ask: Ask) -> None:
    shown = ask("tables", "silver.users")
    assert "key user_id" in shown
    assert "not null, personal" in shown
    assert "not there yet" in shown
    described = json.loads(ask("tables", "silver.users", "--json"))
    assert described["columns"][0] == {
        "name": "user_id", "type": "string", "comment": "The user", "required": True, "personal": True,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "near"), [("silver.itmes", "silver.items"), ("histories", "gold.histories")])
def test_the_error_for_an_unknown_table_names_the_nearest(name: str, near: str, ask: Ask) -> None:
    with pytest.raises(QueryError, match=f"no table {name}; did you mean {near}"):
        ask("tables", name)


OWN = """
[[marts]]
name = "films"
grain = "One row per film."
key = ["item_id"]
columns = { item_id = "string", score = "double" }
sql = "SELECT item_id, 1.0D AS score FROM silver.items"
"""


def test_a_mart_of_the_projects_own_is_a_table_like_any_other(ask: Ask, lake: Lake) -> None:
    file = Path("nightloom.toml")
    file.write_text(file.read_text() + OWN)
    films = tables(load())[-1]
    lake.append(films, [{"item_id": "1", "score": 1.5}])
    assert ask("sql", "SELECT title, score FROM gold.films JOIN silver.items USING (item_id)", "--csv").endswith(
        "1.5\n"
    )
    assert "One row per film." in ask("tables")
    assert json.loads(ask("tables", "gold.films", "--json"))["key"] == ["item_id"]
    with pytest.raises(QueryError, match=r"no table gold\.film in the lake; did you mean gold\.films\?"):
        ask("sql", "SELECT 1 FROM gold.film")


def test_plot_draws_numbers_over_days_without_a_terminal_too(ask: Ask) -> None:
    days = "SELECT DATE '2024-01-01' + i::INT AS day, i AS users, 9 - i AS items FROM range(10) t(i)"
    drawn = ask("sql", days, "--plot")
    first, *_, dates, name = [line.strip() for line in drawn.splitlines() if line.strip()]
    assert (first.split(), name) == (["▚", "users", "o", "items"], "day")
    assert dates.startswith("2024-01-01")
    assert dates.endswith("2024-01-10")
    assert {len(line) for line in drawn.splitlines()} == {80}
    assert "\x1b" not in drawn


def test_plot_draws_a_bar_for_each_text_as_long_as_its_number(ask: Ask) -> None:
    name, first, second, third = ask(
        "sql", "SELECT title, CAST(item_id AS INT) * 10.5 AS score FROM silver.items ORDER BY score DESC", "--plot"
    ).splitlines()
    assert name.strip() == "score"
    assert (first.split("┤")[0].strip(), first.rpartition(" ")[2]) == ("Film 3", "31.5")
    assert [line.count("█") for line in (first, second, third)] == [61, 41, 20]
    assert second.startswith('Café, "noir"')


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT title, title FROM silver.items", "needs a number after its first column, found title is text"),
        ("SELECT title, 1 FROM silver.items WHERE false", "no rows"),
        ("SELECT title, NULL AS n FROM silver.items", "n is empty"),
    ],
)
def test_plot_says_what_it_cannot_draw(statement: str, message: str, ask: Ask) -> None:
    with pytest.raises(PlotError, match=message):
        ask("sql", statement, "--plot")


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
    assert offered("nightloom tables silver.", 2) == ["silver.interactions", "silver.items", "silver.users"]
