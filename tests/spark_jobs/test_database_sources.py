"""bronze.* from a real PostgreSQL: new and changed rows once, by a cursor with a look-back, or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, ITEMS, QUARANTINE_ROWS
from nightloom.errors import DataError, NightloomError
from spark_jobs import bronze, silver_interactions, silver_items
from spark_jobs.context import SparkNight
from spark_jobs.database_rows import DatabaseError
from spark_jobs.folder_retention import trim_folders
from tests.spark_jobs.small_project import EVENTS_ONLY, TOML, Project
from tests.spark_jobs.table_projects import CREATE, Database, database, landed, numbered, project_of_tables, with_tables

Make = Callable[..., Project]
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def shop() -> Iterator[Database]:
    with database() as running:
        yield running


@pytest.fixture
def make(shop: Database, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function: the keys of the sources of events and of items -> a project."""
    for name in ("RATINGS", "CATALOGUE"):
        monkeypatch.setenv(f"NIGHTLOOM_SOURCE_{name}_USER", "nightloom")

    def make(events: str = "", items: str = "", toml: str = EVENTS_ONLY) -> Project:
        server = f'format = "jdbc"\nurl = "{shop.url}?sslmode=disable"\n'
        keys = [server + each if each else "" for each in (events, items)]
        return project_of_tables(tmp_path, spark, with_tables(keys[0], keys[1], toml))

    return make


def changed(at: Project, **keys: Any) -> Project:
    """The project with other keys of its first source."""
    first, *others = at.settings.sources
    sources = (first.model_copy(update=keys), *others)
    return Project(at.settings.model_copy(update={"sources": sources}), at.spark)


def test_new_rows_land_once_also_those_that_were_committed_late(make: Make, shop: Database) -> None:
    shop.run(CREATE.format("numbered"))
    shop.insert("numbered", numbered(1, 2, 5))
    at = make('table = "numbered"\ncursor_column = "n"\nlook_back = 3\nnum_partitions = 2')
    assert at.run(bronze.main)["ratings"] == 3
    assert at.run(bronze.main)["ratings"] == 0
    shop.insert("numbered", numbered(4) + numbered(5, event_id="e5b") + numbered(6, item_id=""))
    assert at.run(bronze.main)["ratings"] == 3
    assert list(trim_folders(at.night())) == []
    shop.insert("numbered", numbered(7) + numbered(1, event_id="before the look-back"))
    shop.run("UPDATE numbered SET value = 1 WHERE n = 6")
    assert at.run(bronze.main, silver_interactions.main)["ratings"] == 2
    assert landed(at) == ["e1", "e2", "e4", "e5", "e5b", "e6", "e6", "e7"]
    assert sorted(row["event_id"] for row in at.rows(INTERACTIONS)) == ["e1", "e2", "e4", "e5", "e5b", "e7"]
    bad = at.rows(QUARANTINE_ROWS)
    assert {(row["reason"], row["file"]) for row in bad} == {("missing", f"{shop.url}/numbered")}


def test_rows_without_a_cursor_or_with_one_in_the_future_land_once(make: Make, shop: Database) -> None:
    shop.run(CREATE.format("odd"))
    shop.insert("odd", numbered(1) + numbered(2, at=None) + numbered(3, at="2999-01-01T00:00:00Z"))
    at = make('table = "odd"\ncursor_column = "at"\nlook_back = 60')
    assert at.run(bronze.main)["ratings"] == 3
    shop.insert("odd", numbered(4, at="2024-05-01T00:00:00Z") + numbered(5, at=None))
    shop.run("UPDATE odd SET at = now() WHERE n = 4")
    assert at.run(bronze.main)["ratings"] == 2
    assert at.run(bronze.main)["ratings"] == 0
    assert landed(at) == ["e1", "e2", "e3", "e4", "e5"]
    shop.run("DELETE FROM odd")
    assert at.run(bronze.main)["ratings"] == 0


@pytest.mark.parametrize(
    "keys",
    ["", pytest.param('\ncursor_column = "at"', marks=pytest.mark.slow)],
    ids=["whole", "by the time of the change"],
)
def test_a_changed_item_is_one_item_with_its_last_description(make: Make, shop: Database, keys: str) -> None:
    name = f"items{len(keys)}"
    shop.run(f'CREATE TABLE {name} (item_id text, title text, year int, genres text[], "on" bool, at timestamp)')
    shop.insert(name, [{"item_id": i, "title": "old", "genres": ["a", "b"], "at": "2024-01-01"} for i in "12"])
    at = make(items=f'table = "{name}"{keys}', toml=TOML)
    at.run(bronze.main, silver_items.main)
    for month, title in ((2, "new"), (3, "old")):
        shop.run(f"UPDATE {name} SET title = %s, at = %s WHERE item_id = '2'", title, f"2024-0{month}-01")
        at.run(bronze.main, silver_items.main)
        rows = at.rows(ITEMS, "item_id", "title", "categories")
        assert [tuple(row.values()) for row in rows] == [("1", "old", ["a", "b"]), ("2", title, ["a", "b"])]


def test_an_ingest_that_ends_between_read_and_commit_is_made_up_for(
    make: Make, shop: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run(CREATE.format("cut"))
    at = make('table = "cut"\ncursor_column = "n"')
    write = SparkNight.write
    for number, after in enumerate((False, True)):
        shop.insert("cut", numbered(number))

        def cut(*arguments: Any, after: bool = after, **options: Any) -> None:
            if after:
                write(*arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(SparkNight, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            at.run(bronze.main)
        monkeypatch.setattr(SparkNight, "write", write)
        at.run(bronze.main)
        assert landed(at) == ["e0", "e1"][: number + 1]


def test_what_cannot_be_read_is_named_and_the_next_run_reads_it(make: Make, shop: Database) -> None:
    shop.run(CREATE.format("sound"))
    shop.insert("sound", numbered(1))
    shop.run("CREATE ROLE reader LOGIN PASSWORD 'wrong one'")
    at = make('table = "sound"\ncursor_column = "n"')
    cases: dict[str, tuple[type[NightloomError], dict[str, Any]]] = {
        r"no such table.*mend `table`.*\(.*\"shop.nothing\" does not exist": (DatabaseError, {"table": "shop.nothing"}),
        r"has no column price; it has at, event": (
            DataError,
            {"fields": at.settings.sources[0].fields | {"price": "int"}},
        ),
        r"cursor_column 'user_id' is of type string; expected a number": (DataError, {"cursor_column": "user_id"}),
        r"the database is not there; mend `url`": (DatabaseError, {"url": f"{shop.url}x"}),
        r"does not answer; start it, or mend `url`": (DatabaseError, {"url": "jdbc:postgresql://127.0.0.1:1/x"}),
    }
    for words, (error, keys) in cases.items():
        with pytest.raises(error, match=rf"source 'ratings': .*{words}"):
            changed(at, **keys).run(bronze.main)
    assert at.run(bronze.main)["ratings"] == 1
    assert len(at.rows(BRONZE_EVENTS)) == 1


def test_a_wrong_password_is_named_and_never_shown(
    make: Make, shop: Database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.run("CREATE ROLE guarded LOGIN PASSWORD 'right one'")
    (file,) = shop.connection.execute("SHOW hba_file").fetchone() or ("",)
    before = Path(file).read_text()
    Path(file).write_text(f"host all guarded all scram-sha-256\n{before}")
    shop.run("SELECT pg_reload_conf()")
    monkeypatch.setenv("NIGHTLOOM_SOURCE_RATINGS_USER", "guarded")
    monkeypatch.setenv("NIGHTLOOM_SOURCE_RATINGS_PASSWORD", "wr0ng-0ne")
    at = make('table = "sound"\ncursor_column = "n"')
    with pytest.raises(DatabaseError, match=r"refuses user or password; they are .*_RATINGS_USER and") as caught:
        at.run(bronze.main)
    shown = capfd.readouterr()
    assert "wr0ng-0ne" not in f"{caught.value} {shown.out} {shown.err} {at.settings!r}"
