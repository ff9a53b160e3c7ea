"""`nightloom sql --plot`: charts in the terminal."""

import pytest

from nightloom.sql.plot import PlotError
from tests.nightloom.sql.conftest import Run


def test_plot_draws_numbers_over_days_without_a_terminal_too(run: Run) -> None:
    days = "SELECT DATE '2024-01-01' + i::INT AS day, i AS users, 9 - i AS items FROM range(10) t(i)"
    drawn = run("sql", days, "--plot")
    first, *_, dates, name = [line.strip() for line in drawn.splitlines() if line.strip()]
    assert (first.split(), name) == (["▚", "users", "o", "items"], "day")
    assert dates.startswith("2024-01-01")
    assert dates.endswith("2024-01-10")
    assert {len(line) for line in drawn.splitlines()} == {80}
    assert "\x1b" not in drawn


def test_plot_draws_a_bar_for_each_text_as_long_as_its_number(run: Run) -> None:
    name, first, second, third = run(
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
def test_plot_says_what_it_cannot_draw(statement: str, message: str, run: Run) -> None:
    with pytest.raises(PlotError, match=message):
        run("sql", statement, "--plot")
