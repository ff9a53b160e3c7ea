"""Delta tables without Spark: made by contract, checked on the way in, read at any version and moment."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from nightloom.contracts import HISTORIES, POPULAR, QUARANTINE_ROWS, TABLES, USERS
from nightloom.errors import ConcurrentRunError, DataError, MissingTableError
from nightloom.lake import Lake, arrow, arrow_schema, arrow_type
from nightloom.lake.duck import read_parquet

NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)


def user(user_id: object = "u1", **given: Any) -> dict[str, Any]:
    fixed = {"attributes": [("age", "24")], "updated_at": NOON, "row_id": "r", "night": date(1998, 4, 21)}
    return {"user_id": user_id} | fixed | given


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.full_name)
def test_a_table_is_made_as_its_contract_says(each: Any, lake: Lake) -> None:
    lake.create(each)
    made = lake.open(each)
    fields = {field.name: field for field in made.schema().fields}
    assert list(fields) == list(each.column_names)
    assert [field.nullable for field in fields.values()] == [not column.required for column in each.columns]
    assert [field.metadata["comment"] for field in fields.values()] == [column.comment for column in each.columns]
    assert made.metadata().description == each.grain
    assert made.metadata().partition_columns == ([each.partition] if each.partition else [])
    assert made.metadata().configuration["delta.enableChangeDataFeed"] == "true"


def test_making_a_table_again_leaves_its_rows(lake: Lake) -> None:
    lake.append(USERS, [user()])
    lake.create(USERS)
    assert lake.rows(USERS).num_rows == 1


def test_rows_come_back_as_they_went_in(lake: Lake) -> None:
    lake.append(USERS, [user("ü 1", attributes=[])])
    (row,) = lake.rows(USERS).to_pylist()
    assert (row["user_id"], row["attributes"], row["night"]) == ("ü 1", [], date(1998, 4, 21))
    assert row["updated_at"] == NOON


def test_a_table_of_an_earlier_version_is_brought_to_its_contract_once_and_keeps_its_rows(lake: Lake) -> None:
    columns = [replace(c, name="words") if c.name == "attributes" else c for c in USERS.columns if c.name != "versions"]
    earlier = replace(USERS, columns=tuple(columns))
    present = replace(
        USERS,
        columns=tuple(replace(c, former_name="words") if c.name == "attributes" else c for c in USERS.columns),
    )
    old = {"words" if name == "attributes" else name: value for name, value in user("a").items()}
    lake.append(earlier, [old])
    before = lake.version(earlier)
    lake.append(present, [user("b")])
    assert [(row["user_id"], row["attributes"]) for row in lake.rows(present, "true ORDER BY user_id").to_pylist()] == [
        ("a", [("age", "24")]),
        ("b", [("age", "24")]),
    ]
    assert lake.version(present) == before + 3  # the new column, the rename, then the row
    required = {column.name: column.required for column in present.columns}
    assert {field.name: not field.nullable for field in lake.open(present).schema().fields} == required
    with pytest.raises(DataError, match="user_id_not_empty"):
        lake.append(present, [user("")])


def test_conditions_and_columns_are_sql(lake: Lake) -> None:
    lake.append(USERS, [user("a"), user("b")])
    found = lake.rows(USERS, "user_id > 'a'", ["upper(user_id) AS name"])
    assert found.to_pylist() == [{"name": "B"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"user_id": "u"}, r"silver\.users: a row has columns \['user_id'\], expected \['attributes', "),
        (user(colour="red"), "colour"),
        (user(user_id=7), r"silver\.users: a row does not fit the contract"),
        (user(updated_at="soon"), r"silver\.users: a row does not fit the contract"),
    ],
)
def test_rows_that_break_the_contract_are_refused_and_nothing_is_written(
    row: dict[str, Any], message: str, lake: Lake
) -> None:
    with pytest.raises(DataError, match=message):
        lake.append(USERS, [user(), row])
    assert lake.rows(USERS).num_rows == 0


def test_a_missing_value_in_a_required_column_is_refused(lake: Lake) -> None:
    with pytest.raises(DataError, match="row_id"):
        lake.append(USERS, [user(row_id=None)])


def test_a_row_that_breaks_a_check_is_refused_by_delta_and_the_error_names_check_and_value(lake: Lake) -> None:
    message = (
        r"silver\.users: a row breaks the check user_id_not_empty \(user_id <> ''\): user_id ''; nothing was written"
    )
    with pytest.raises(DataError, match=message):
        lake.append(USERS, [user("u1"), user("")])
    assert lake.rows(USERS).num_rows == 0


def test_an_update_that_breaks_a_check_is_refused_too(lake: Lake) -> None:
    row = {
        "row_id": "r", "kind": "events", "source": "s", "reason": "type", "detail": "d", "raw": "{}", "file": "f",
        "night": date(1998, 4, 21), "state": "waiting", "replayed_as": None, "decided_at": None, "decided_by": None,
    }  # fmt: skip
    lake.append(QUARANTINE_ROWS, [row])
    with pytest.raises(
        DataError, match=r"quarantine\.rows: a row breaks the check known_state .*: row_id 'r', state 'x'"
    ):
        lake.update(QUARANTINE_ROWS, [row | {"state": "x"}])
    assert lake.rows(QUARANTINE_ROWS, columns=["state"]).to_pylist() == [{"state": "waiting"}]


def test_a_table_that_two_make_at_once_has_its_checks_once(lake: Lake) -> None:
    with ThreadPoolExecutor(8) as makers:
        list(makers.map(lambda n: lake.append(USERS, [user(f"u{n}")]), range(8)))
    assert lake.rows(USERS).num_rows == 8
    checks = {name for name in lake.open(USERS).metadata().configuration if name.startswith("delta.constraints.")}
    assert checks == {f"delta.constraints.{name}" for name, _ in USERS.checks}


def test_versions_that_only_upkeep_parts_hold_the_same_rows(lake: Lake) -> None:
    for n in range(3):
        lake.append(USERS, [user(f"u{n}")])
    before = lake.version(USERS)
    lake.open(USERS).optimize.compact()
    assert lake.same_rows(USERS, before, before + 1)
    assert not lake.same_rows(USERS, before - 1, before + 1)
    assert not lake.same_rows(USERS, before + 1, before)
    lake.append(USERS, [user("u9")])
    assert not lake.same_rows(USERS, before, before + 2)


def lists(*nights: date, item: str = "i1", score: float = 1.0) -> pa.Table:
    return arrow(POPULAR, [{"night": night, "segment": "all", "items": [item], "scores": [score]} for night in nights])


def test_rows_are_replaced_where_asked_and_the_commit_says_what_they_were_made_from(lake: Lake) -> None:
    first, second = date(1998, 4, 21), date(1998, 4, 22)
    lake.replace(POPULAR, lists(first, second), "true", "before")
    lake.replace(POPULAR, lists(first, item="i2"), f"night = DATE '{first}'", "after")
    assert {row["night"]: row["items"] for row in lake.rows(POPULAR).to_pylist()} == {first: ["i2"], second: ["i1"]}
    assert [commit["userMetadata"] for commit in lake.commits(POPULAR)[:2]] == ["after", "before"]


def test_a_replacement_that_breaks_a_check_leaves_what_was_there(lake: Lake) -> None:
    night = date(1998, 4, 21)
    lake.replace(POPULAR, lists(night), "true", "")
    with pytest.raises(DataError, match=r"gold\.popular: a row breaks the check one_score_per_item"):
        lake.replace(POPULAR, arrow(POPULAR, [lists(night).to_pylist()[0] | {"scores": []}]), "true", "")
    assert lake.rows(POPULAR)["items"].to_pylist() == [["i1"]]


def test_of_two_replacements_at_once_one_is_refused_and_no_night_is_there_twice(lake: Lake) -> None:
    night = date(1998, 4, 21)
    lake.create(POPULAR)

    def outcome(item: str) -> str:
        try:
            lake.replace(POPULAR, lists(night, item=item), f"night = DATE '{night}'", "")
        except ConcurrentRunError:
            return "refused"
        return "written"

    with ThreadPoolExecutor(4) as pool:
        outcomes = set(pool.map(outcome, map(str, range(40))))
    assert "written" in outcomes
    assert outcomes <= {"written", "refused"}
    assert lake.rows(POPULAR).num_rows == 1


def test_an_old_version_is_as_it_was(lake: Lake) -> None:
    lake.append(USERS, [user("a")])
    then = lake.version(USERS)
    lake.append(USERS, [user("b")])
    assert lake.rows(USERS, version=then).num_rows == 1
    assert lake.rows(USERS).num_rows == 2
    with pytest.raises(MissingTableError, match=r"silver\.users has no version 99 \(any more\); its newest is 3"):
        lake.open(USERS, version=99)


def test_a_moment_gives_the_version_of_then_and_before_the_first_one_there_is_none(lake: Lake) -> None:
    lake.append(USERS, [user("a")])
    written = lake.last_commit(USERS)["timestamp"]
    then = datetime.fromtimestamp(written / 1000, UTC)
    assert lake.open(USERS, as_of=then + timedelta(days=1)).version() == lake.version(USERS) == 2
    with pytest.raises(MissingTableError, match="did not exist at"):
        lake.open(USERS, as_of=then - timedelta(days=1))


def test_a_table_that_no_night_wrote_is_an_error_with_its_name(lake: Lake) -> None:
    assert not lake.exists(USERS)
    with pytest.raises(MissingTableError, match=r"silver\.users is not in .* yet"):
        lake.version(USERS)


@pytest.mark.parametrize("name", ["shop's #1 50% näh", "a?b", "a*b", 'a "b" {c}'])
def test_files_and_history_of_a_table_are_found_in_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / name)
    lake.append(USERS, [user("a")])
    lake.append(USERS, [user("b")])
    shutil.copytree(tmp_path / name, tmp_path / "a-b")  # `a*b` as a pattern fits `a-b`
    assert [commit["operation"] for commit in lake.commits(USERS, 2)] == ["WRITE", "WRITE"]
    files = lake.files(USERS)
    assert all(Path(file).is_file() for file in files)
    with duckdb.connect() as db:
        found = read_parquet(db, files).project("user_id").order("user_id").fetchall()
    assert found == [("a",), ("b",)]


def test_types_of_lists_and_maps_follow_the_ddl() -> None:
    assert arrow_type("array<timestamp>") == pa.list_(pa.timestamp("us", "UTC"))
    assert arrow_type("map<string,bigint>") == pa.map_(pa.string(), pa.int64())
    assert arrow_schema(HISTORIES).field("weights").type == pa.list_(pa.float32())


def test_a_process_that_reads_and_ends_at_once_ends_well(lake: Lake) -> None:
    """deltalake's own to_pyarrow_table() aborts such a process in most runs; see Lake.query."""
    lake.append(USERS, [user()])
    script = f"from pathlib import Path; from nightloom.lake import Lake; from nightloom.contracts import USERS; " \
             f"print(Lake(Path({str(lake.root)!r})).rows(USERS).num_rows)"  # fmt: skip
    root = Path(__file__).parents[2]
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
