"""`nightloom tables` as a person runs it, on real Delta tables; marts of the project."""

import json
from pathlib import Path

import pytest

from nightloom.contracts import TABLES
from nightloom.lake import Lake
from nightloom.settings import load
from nightloom.sql.marts import all_tables
from nightloom.sql.query import QueryError
from tests.nightloom.sql.conftest import Run


def test_tables_lists_every_table_with_its_rows_and_version(run: Run) -> None:
    listed = {each["name"]: each for each in json.loads(run("tables", "--json"))}
    assert list(listed) == [each.full_name for each in TABLES]
    assert (listed["silver.items"]["rows"], listed["silver.items"]["version"]) == (3, 3)
    assert listed["gold.popular"]["rows"] is None
    shown = run("tables")
    assert all(each.grain in shown for each in TABLES)


def test_a_table_is_described_by_key_columns_and_what_is_personal(run: Run) -> None:
    shown = run("tables", "silver.users")
    assert "key user_id" in shown
    assert "not null, personal" in shown
    assert "not there yet" in shown
    described = json.loads(run("tables", "silver.users", "--json"))
    assert described["columns"][0] == {
        "name": "user_id", "type": "string", "comment": "The user", "required": True, "personal": True,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "near"), [("silver.itmes", "silver.items"), ("histories", "gold.histories")])
def test_the_error_for_an_unknown_table_names_the_nearest(name: str, near: str, run: Run) -> None:
    with pytest.raises(QueryError, match=f"no table {name}; did you mean {near}"):
        run("tables", name)


OWN = """
[[marts]]
name = "films"
grain = "One row per film."
key = ["item_id"]
columns = { item_id = "string", score = "double" }
sql = "SELECT item_id, 1.0D AS score FROM silver.items"
"""


def test_a_mart_of_the_projects_own_is_a_table_like_any_other(run: Run, lake: Lake) -> None:
    file = Path("nightloom.toml")
    file.write_text(file.read_text() + OWN)
    films = all_tables(load())[-1]
    lake.append(films, [{"item_id": "1", "score": 1.5}])
    assert run("sql", "SELECT title, score FROM gold.films JOIN silver.items USING (item_id)", "--csv").endswith(
        "1.5\n"
    )
    assert "One row per film." in run("tables")
    assert json.loads(run("tables", "gold.films", "--json"))["key"] == ["item_id"]
    with pytest.raises(QueryError, match=r"no table gold\.film in the lake; did you mean gold\.films\?"):
        run("sql", "SELECT 1 FROM gold.film")
