"""Files as people have them, through bronze, silver and gate 1: what each becomes, and what the operator is told."""

import gzip
from collections.abc import Callable
from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

from expectations.landing_files import file_checks
from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from nightloom.night.records import Check
from spark_jobs import bronze, silver_interactions
from tests.spark_jobs.small_project import Project, project
from tests.spark_jobs.small_project import bronze as bronze_row

SOURCE = """
[[sources]]
name = "{name}"
kind = "events"
format = "csv"
path = "landing/{name}"
settle_seconds = 0
fields = {{ user = "string", item = "string", when = "timestamp", title = "string" }}
columns = {{ user_id = "user", item_id = "item", event = "'view'", occurred_at = "`when`" }}
{more}
"""
OLD = 'header = false\nencoding = "ISO-8859-1"'
TOML = f"""
[project]
name = "small"
[places]
spark = "local[2]"
{SOURCE.format(name="plays", more="")}
{SOURCE.format(name="old", more=OLD)}
[[signals]]
event = "view"
[[models]]
name = "popularity"
"""
HEADER, DAY = "user,item,when,title\n", "2024-03-01 10:00:00"
FILES: dict[str, bytes] = {
    "plays/stray.csv": f'{HEADER}s1,i1,{DAY},a\ns2,i2,{DAY},"Hero\ns3,i3,{DAY},low"\n'.encode(),
    "plays/PACKED.CSV.GZ": gzip.compress(f"{HEADER}p1,i1,{DAY},a\n".encode()),
    "plays/export.csv": gzip.compress(f"{HEADER}p2,i1,{DAY},a\n".encode()),
    "plays/PLAIN.CSV.GZ": f"{HEADER}p3,i1,{DAY},a\n".encode(),
    "plays/archive.csv": b"7z\xbc\xaf\x27\x1c\0\4",
    "plays/headless.csv": f"h1,i1,{DAY},a\nh2,i2,{DAY},b\n".encode(),
    "plays/one_row.csv": f"h3,i3,{DAY},c\n".encode(),
    "old/headless.csv": f"d1,i1,{DAY},a\nd2,i2,{DAY},b\n".encode(),
    "old/one_row.csv": f"José,i3,{DAY},c\n".encode("latin-1"),
    "plays/sheet.csv": f"user,item,when,,\ne1,i1,{DAY},,\n".encode(),
    "plays/twice.csv": b"user,item,user\ne2,i1,e3\n",
    "plays/renamed.csv": f"usr,item,when,title\nr1,i1,{DAY},a\n".encode(),
    "plays/latin.csv": f"{HEADER}Zoë,i1,{DAY},a\nZoè,i1,{DAY},a\nb1,i1,{DAY},Café\n".encode("latin-1"),
    "plays/utf8.csv": f'{HEADER}Zoë,i1,{DAY},"a\nb"\n'.encode(),
}


@pytest.fixture(scope="module")
def landed(spark: SparkSession, quick: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with all of these files, after one night's bronze and silver, in a lake of an earlier version."""
    at = project(tmp_path_factory.mktemp("landed") / "p", spark, TOML)
    columns = tuple(c for c in BRONZE_EVENTS.columns if c.name not in ("lines", "problem", "file_summary"))
    earlier = replace(BRONZE_EVENTS, columns=columns)
    row = bronze_row("", "plays", "earlier.csv")
    at.night().lake.append(earlier, [{name: row[name] for name in earlier.column_names}])
    for name, content in FILES.items():
        (at.settings.root / "landing" / name).write_bytes(content)
    at.run(bronze.main, silver_interactions.main)
    return at


@pytest.fixture(scope="module")
def users(landed: Project) -> Callable[[str], list[str]]:
    """File -> users of its interactions."""
    files = {row["row_id"]: row["file"] for row in landed.rows(BRONZE_EVENTS, "row_id", "file")}
    rows = landed.rows(INTERACTIONS, "row_id", "user_id")
    return lambda name: sorted(row["user_id"] for row in rows if files[row["row_id"]] == f"landing/{name}")


@pytest.fixture(scope="module")
def quarantined(landed: Project) -> Callable[[str], list[tuple[str, str, str]]]:
    """File -> (reason, detail, raw) of its rows in quarantine."""
    rows = landed.rows(QUARANTINE_ROWS)
    return lambda name: sorted((r["reason"], r["detail"], r["raw"]) for r in rows if r["file"] == f"landing/{name}")


@pytest.fixture(scope="module")
def checks(landed: Project) -> dict[str, Check]:
    """Gate 1's checks of files, by name."""
    return {check.name: check for check in file_checks(landed.night())}


Users = Callable[[str], list[str]]
Quarantined = Callable[[str], list[tuple[str, str, str]]]


def test_csv_stray_quote_swallows_good_rows(users: Users, quarantined: Quarantined, checks: dict[str, Check]) -> None:
    assert users("plays/stray.csv") == ["s1", "s3"]
    problem = "the quote that opens field 4 is not closed before the next record"
    assert quarantined("plays/stray.csv") == [("unreadable", problem, f's2,i2,{DAY},"Hero')]
    lines = checks["lines of plays"]
    assert lines.passed
    assert lines.observed == (
        "17 lines of 12 files in 16 records; 1 hold more than one line, the longest 2 (landing/plays/utf8.csv)"
    )


def test_gz_by_name_case(users: Users, quarantined: Quarantined, checks: dict[str, Check]) -> None:
    assert [users(f"plays/{name}") for name in ("PACKED.CSV.GZ", "export.csv", "PLAIN.CSV.GZ")] == [
        ["p1"],
        ["p2"],
        ["p3"],
    ]
    ((reason, detail, _),) = quarantined("plays/archive.csv")
    assert (reason, detail[:34]) == ("unreadable", "file refused: it is a 7z archive; ")
    warning = checks["unreadable files of plays"]
    assert (warning.passed, warning.severity) == (False, "warn")
    assert warning.observed.startswith("landing/plays/archive.csv: file refused: it is a 7z archive; ")


def test_no_header_loses_first_row(users: Users, quarantined: Quarantined, checks: dict[str, Check]) -> None:
    assert [users("old/headless.csv"), users("old/one_row.csv")] == [["d1", "d2"], ["José"]]
    found = [*quarantined("plays/headless.csv"), *quarantined("plays/one_row.csv")]
    assert [raw for _, _, raw in found] == [f"h{n},i{n},{DAY},{'abc'[n - 1]}" for n in (1, 2, 3)]
    for reason, detail, _ in found:
        assert reason == "unreadable"
        assert "names none of the fields user, item, when, title; it is: h" in detail
        assert "Write `header = false`" in detail
    assert [name for name in checks if name.endswith("of old")] == ["lines of old"]


def test_excel_two_empty_headers(users: Users, quarantined: Quarantined) -> None:
    assert users("plays/sheet.csv") == ["e1"]
    assert quarantined("plays/twice.csv") == [
        ("unreadable", "the header of its file names user more than once: user, item, user", "e2,i1,e3")
    ]


def test_latin1_text_and_ids(users: Users, quarantined: Quarantined, checks: dict[str, Check]) -> None:
    assert users("plays/utf8.csv") == ["Zoë"]
    assert users("plays/latin.csv") == ["b1"]
    assert [(reason, detail[:22]) for reason, detail, _ in quarantined("plays/latin.csv")] == [
        ("unreadable", "user_id is 'Zo\ufffdE8': \ufffd "),
        ("unreadable", "user_id is 'Zo\ufffdEB': \ufffd "),
    ]
    warning = checks["bytes that are no text of plays"]
    assert (warning.severity, warning.observed) == ("warn", "landing/plays/latin.csv: in 3 of 3 lines")


def test_a_header_that_lacks_a_declared_field_is_named(quarantined: Quarantined, checks: dict[str, Check]) -> None:
    ((reason, detail, _),) = quarantined("plays/renamed.csv")
    found = "the record has no user, it has: usr, item, when, title"
    assert (reason, detail) == ("missing", f"user_id is empty; it is made of: user; {found}")
    warning = checks["fields missing in files of plays"]
    assert warning.severity == "warn"
    assert "landing/plays/renamed.csv: no user; its header is: usr, item, when, title" in warning.observed


def test_a_lake_of_an_earlier_version_gets_the_new_columns(landed: Project) -> None:
    rows = landed.rows(BRONZE_EVENTS, "file", "lines", "problem")
    assert {"file": "earlier.csv", "lines": None, "problem": None} in rows
