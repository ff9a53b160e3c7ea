"""`nightloom sql` as a person runs it, on real Delta tables."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from nightloom.cli import nightloom
from nightloom.contracts import ITEMS, TABLES, USERS
from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.sql.commands import parse_as_of
from nightloom.sql.names import tables_in
from nightloom.sql.query import QueryError
from tests.nightloom.sql.conftest import Run, item


def test_a_statement_gives_a_table(run: Run) -> None:
    shown = run("sql", "SELECT item_id, title FROM silver.items ORDER BY item_id LIMIT 1")
    assert "item_id" in shown
    assert "Film 1" in shown
    assert "more rows" not in shown


def test_csv_is_complete_and_quoted_as_csv_wants(run: Run) -> None:
    rows = list(
        csv.reader(io.StringIO(run("sql", "SELECT title, categories FROM silver.items ORDER BY item_id", "--csv")))
    )
    assert rows == [
        ["title", "categories"], ["Film 1", '["drama", "war"]'], ['Café, "noir"', '["drama", "war"]'],
        ["Film 3", '["drama", "war"]'],
    ]  # fmt: skip


def test_a_statement_may_come_by_a_pipe(lake: Lake) -> None:
    piped = CliRunner().invoke(nightloom, ["sql", "--csv"], input="SELECT count(*) AS n\nFROM silver.items;\n")
    assert piped.stdout == "n\n3\n"


def test_json_keeps_lists_maps_and_moments(run: Run) -> None:
    (row,) = json.loads(run("sql", "SELECT * FROM silver.items WHERE item_id = '1'", "--json"))
    assert row["categories"] == ["drama", "war"]
    assert row["attributes"] == {"year": "1995"}
    assert (row["updated_at"], row["night"]) == ("1998-04-21T12:00:00+00:00", "1998-04-21")


def test_json_of_no_rows_is_an_empty_list(run: Run) -> None:
    assert json.loads(run("sql", "SELECT * FROM silver.items WHERE false", "--json")) == []


def test_on_screen_long_results_end_with_how_many_more_there_are(run: Run, lake: Lake) -> None:
    lake.append(ITEMS, [item(number) for number in range(100, 200)])
    statement = "SELECT item_id FROM silver.items -- all of them"
    assert "... 53 more rows; --csv and --json give all." in run("sql", statement)
    assert len(json.loads(run("sql", statement, "--json"))) == 103


def test_tables_join_by_name_quoted_or_not(run: Run, lake: Lake) -> None:
    lake.create(USERS)
    rows = run("sql", 'SELECT count(*) AS n FROM silver.items, (SELECT count(*) FROM "silver"."users") u', "--csv")
    assert rows == "n\n3\n"


def test_an_old_version_is_as_it_was(run: Run) -> None:
    assert run("sql", "SELECT count(*) AS n FROM silver.items", "--version", "2", "--csv") == "n\n2\n"


def test_as_of_a_moment_and_as_of_a_day_which_means_its_end(run: Run, lake: Lake) -> None:
    today = datetime.now(UTC)
    assert run("sql", "SELECT count(*) AS n FROM silver.items", "--as-of", f"{today:%Y-%m-%d}", "--csv") == "n\n3\n"
    second, first, *_ = (commit["timestamp"] / 1000 for commit in lake.commits(ITEMS))
    moment = datetime.fromtimestamp((first + second) / 2, UTC).isoformat()
    assert run("sql", "SELECT count(*) AS n FROM silver.items", "--as-of", moment, "--csv") == "n\n2\n"
    with pytest.raises(MissingTableError, match="did not exist at"):
        run("sql", "SELECT 1 FROM silver.items", "--as-of", "2001-01-01")


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
def test_what_cannot_be_run_says_why_and_what_is_near(statement: str, message: str, run: Run) -> None:
    with pytest.raises(QueryError, match=message):
        run("sql", statement)


def test_a_variable_of_the_program_is_no_table(run: Run) -> None:
    with pytest.raises(QueryError, match="no table named in the lake"):
        run("sql", "SELECT * FROM named")


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1 FROM silver.items, silver.users"])
def test_a_version_needs_one_table(statement: str, run: Run) -> None:
    with pytest.raises(QueryError, match="--version needs a statement that names one table, found"):
        run("sql", statement, "--version", "1")


def test_a_table_that_no_night_wrote_yet_is_an_error_that_says_so(run: Run) -> None:
    with pytest.raises(MissingTableError, match=r"gold\.popular is not in .* yet"):
        run("sql", "SELECT * FROM gold.popular")


def test_complete_names_are_found_in_any_case_and_not_inside_others() -> None:
    found = tables_in(
        'SELECT * FROM Silver.ITEMS JOIN "gold" . "item_stats" USING (item_id), xsilver.users, silver.users2 '
        "WHERE x = 'gold.popular' -- and silver.users",
        TABLES,
    )
    assert [each.full_name for each in found] == ["silver.items", "gold.item_stats"]


def test_describe_and_explain_are_reading(run: Run) -> None:
    assert "MAP(VARCHAR, VARCHAR)" in run("sql", "DESCRIBE silver.items")
    assert run("sql", "EXPLAIN SELECT * FROM silver.items")
