"""The marts on a small lake: by arithmetic that can be done by hand, exact however late the events come."""

import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from scipy.sparse import csr_array

from nightloom import contracts as T
from nightloom.contracts import Table
from nightloom.lake import now
from nightloom.settings import load
from nightloom.sql.marts import MARTS, Mart, all_marts
from spark_jobs import marts
from spark_jobs.mart_errors import MartError
from tests.spark_jobs.small_project import NEXT, TOML, D, Project, Row, project
from tests.spark_jobs.two_day_lake import AFTER, SLATE, add_events, like, lists
from training import ranking_metrics

pytestmark = pytest.mark.usefixtures("quick")
OURS = {mart.table: mart for mart in MARTS}


def make(at: Project, *tables: Table, day: date = NEXT) -> None:
    """Make some of our marts."""
    for table in tables:
        marts.make_mart(at.night(day), OURS[table])


@pytest.mark.parametrize("mart", [mart for mart in MARTS if mart.in_process], ids=lambda mart: mart.table.name)
def test_duckdb_and_spark_give_the_same_rows(lake: Project, mart: Mart) -> None:
    night = lake.night(D if mart.table == T.COVERAGE else NEXT)  # D has lists
    assert marts.fits_in_process(night, mart)
    by_duckdb, by_spark = marts.run_select(night, mart), marts.run_select(night, replace(mart, in_process=False))
    assert isinstance(by_duckdb, pa.Table)
    assert isinstance(by_spark, DataFrame)
    rows = [
        sorted(map(str, found.select(by_duckdb.column_names).to_pylist())) for found in (by_duckdb, by_spark.toArrow())
    ]
    assert rows[0] == rows[1]
    assert rows[0]


def test_a_mart_of_days_is_made_in_process_however_many_interactions_there_are(
    lake: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marts, "MOST_ROWS", 0)
    fit = {mart.table for mart in MARTS if marts.fits_in_process(lake.night(NEXT), mart)}
    assert T.USER_DAYS in fit  # it gets the changed days' interactions
    assert not fit & {T.DAILY_ACTIVITY, T.QUALITY_TREND}


def test_daily_activity_counts_a_day_and_who_is_new(lake: Project) -> None:
    first, second = lake.rows(T.DAILY_ACTIVITY)
    assert first == {
        "day": D, "events": 3, "users": 2, "new_users": 2, "items": 3, "weight": 1.0 + 1.0 + 0.2,
        "by_event": [("rating", 2), ("view", 1)],
    }  # fmt: skip
    assert (second["day"], second["events"], second["users"], second["new_users"]) == (NEXT, 4, 3, 2)


def test_retention_follows_a_cohort_week_by_week(lake: Project) -> None:
    assert lake.rows(T.RETENTION) == [
        {
            "cohort_week": date(2024, 2, 26), "weeks_since": 0, "cohort_users": 4, "users": 4, "share": 1.0,
            "complete": False,
        }
    ]  # fmt: skip


def test_outcomes_say_how_the_lists_of_the_night_before_did(lake: Project) -> None:
    """u2 liked i4 and i5: the first stands on top, the second beyond k. u3 liked nothing, u9 had no list."""
    (row,) = lake.rows(T.OUTCOMES)
    assert row == {
        "day": NEXT, "segment": "all", "lists_night": D, "model_version": "1", "k": 2, "lists": 3, "active_users": 1,
        "users_hit": 1, "liked": 2, "hits": 1, "hits_stored": 2, "recall": 0.5, "precision": 0.5,
        "ndcg": pytest.approx(1 / (1 + 1 / np.log2(3))),
    }  # fmt: skip


def test_coverage_says_how_the_places_are_spread(lake: Project) -> None:
    """First pages: i1 twice, i6 twice, i4, i7 once; 8 of 9 items are available; i1 and i2 are the most popular."""
    (row,) = lake.rows(T.COVERAGE)
    assert (row["night"], row["lists"], row["slots"], row["available"]) == (D, 3, 6, 8)
    assert (row["items_first"], row["items_stored"], row["share_first"]) == (4, 7, 0.5)
    by_hand = 2 * (5 * 1 + 6 * 1 + 7 * 2 + 8 * 2) / (8 * 6) - 9 / 8
    assert row["gini"] == pytest.approx(by_hand)
    assert row["top_percent_share"] == pytest.approx(2 / 6)
    assert row["mean_popularity_rank"] == pytest.approx((2 * 1 + 4 * 4) / 6)


def test_the_quality_trend_accounts_for_every_row_of_a_night(lake: Project) -> None:
    missed, first, second = lake.rows(T.QUALITY_TREND)
    assert (missed["night"], missed["rows_in"]) == (D - timedelta(days=1), 0)
    assert (first["rows_in"], first["good"], first["quarantined"], first["set_aside"]) == (4, 3, 1, 0)
    assert first["by_reason"] == [("unreadable", 1)]
    assert (second["rows_in"], second["good"], second["set_aside"], second["late"]) == (6, 4, 1, 0)
    assert (second["by_reason"], first["quarantined_others"]) == ([("missing", 1)], 1)
    assert (first["checks_passed"], first["checks_failed"], first["checks_warned"]) == (2, 0, 0)


def content(at: Project, *tables: Table) -> dict[str, list[Row]]:
    return {table.name: at.rows(table) for table in tables}


def test_a_night_run_again_and_an_earlier_one_after_it_change_nothing(lake: Project) -> None:
    before = content(lake, *OURS)
    steady = [table for table in OURS if table != T.QUALITY_TREND]  # the gates' table has a new version each time
    versions = [lake.night().lake.version(table) for table in steady]
    lake.run(marts.main, day=NEXT)
    assert [lake.night().lake.version(table) for table in steady] == versions
    marts.make_mart(lake.night(D), OURS[T.COVERAGE])
    marts.make_mart(lake.night(D), OURS[T.QUALITY_TREND])
    assert content(lake, *OURS) == before


EXACT = (T.USER_DAYS, T.DAILY_ACTIVITY, T.OUTCOMES)


@pytest.mark.slow
def test_events_that_come_late_end_in_the_marts_that_they_would_have_made_in_time(
    spark: SparkSession, tmp_path: Path
) -> None:
    """u9's first day moves to the day before; u2 liked a listed item after all."""
    early, late = (
        [like(D, 1, "u1"), like(NEXT, 4, "u2"), like(NEXT, 5, "u9")],
        [like(D, 2, "u9"), like(NEXT, 3, "u2")],
    )
    made = []
    for deliveries in ([*early, *late],), (early, late):
        (folder := tmp_path / str(len(deliveries))).mkdir()
        at = project(folder, spark, TOML + SLATE)
        lists(at, D, {"u2": ["i3", "i7"], "u9": ["i8"]})
        for number, events in enumerate(deliveries):
            day = NEXT + timedelta(days=number)
            add_events(at, *events, day=day)
            make(at, *EXACT, day=day)
        made.append(content(at, *EXACT))
    assert made[0] == made[1]
    assert [(row["users"], row["new_users"]) for row in made[0]["daily_activity"]] == [(2, 2), (2, 1)]
    reopened = {(row["table"], row["period"]) for row in at.rows(T.REOPENINGS)}
    assert {("gold.user_days", D), ("gold.outcomes", NEXT)} <= reopened


def test_lists_rebuilt_after_their_day_are_judged_again_and_deleted_lists_stay_judged(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark, TOML + SLATE)
    add_events(at, like(NEXT, 1, "u1"))
    lists(at, D, {"u1": ["i2"]})
    make(at, T.OUTCOMES)
    lists(at, D, {"u1": ["i1"]})
    make(at, T.OUTCOMES)
    assert [row["hits"] for row in at.rows(T.OUTCOMES)] == [1]
    at.night().lake.open(T.RECOMMENDATIONS).delete()
    add_events(at, like(NEXT, 2, "u1"), day=AFTER)
    make(at, T.OUTCOMES, day=AFTER)
    assert [(row["hits"], row["liked"]) for row in at.rows(T.OUTCOMES)] == [(1, 1)]


def test_outcomes_are_measured_as_models_are_by_segment_too(spark: SparkSession, tmp_path: Path) -> None:
    """40 users with lists of 4, what they liked by chance: means as training.ranking_metrics finds them."""
    at = project(tmp_path, spark, TOML + "\n[slate]\nk = 3\nstored = 4\n")
    draw = np.random.default_rng(3)
    listed = {f"u{u}": [f"i{i}" for i in draw.permutation(8)[:4]] for u in range(40)}
    liked = {f"u{u}": draw.permutation(8)[: draw.integers(1, 5)].tolist() for u in range(40)}
    jobs = ["cook"] * 12 + ["smith"] * 8 + [None] * 20
    known = {"updated_at": now(), "row_id": "r", "night": D}
    at.night().lake.append(
        T.USERS, [known | {"user_id": f"u{u}", "attributes": [("job", job)]} for u, job in enumerate(jobs)]
    )
    add_events(at, *(like(NEXT, i, user, event_id=f"{user}-{i}") for user, items in liked.items() for i in items))
    lists(at, D, listed)
    make(at, T.OUTCOMES)
    ids = np.array([[int(item[1:]) for item in items[:3]] for items in listed.values()], np.int32)
    targets = csr_array(np.array([[i in items for i in range(8)] for items in liked.values()]))
    hits, sizes = ranking_metrics.hits(ids, targets), np.array([len(items) for items in liked.values()])
    everybody, cooks = at.rows(T.OUTCOMES)
    assert [row["segment"] for row in (everybody, cooks)] == ["all", "job=cook"]  # too few smiths
    for row, some in ((everybody, slice(None)), (cooks, slice(12))):
        assert row["recall"] == pytest.approx(ranking_metrics.recall(hits, sizes)[some].mean())
        assert row["ndcg"] == pytest.approx(ranking_metrics.ndcg(hits, sizes)[some].mean())
        assert row["precision"] == pytest.approx(hits[some].mean())


OWN = """
[[marts]]
name = "likes"
grain = "One row per day and event."
key = ["day", "event"]
period = "day"
columns = { day = "date", event = "string", likes = { type = "bigint", comment = "Interactions with a weight" } }
sql = '''
SELECT to_date(occurred_at) AS day, event, count_if(weight > 0) AS likes
FROM silver.interactions -- not bronze.events
GROUP BY 1, 2'''

[[marts]]
name = "busiest"
grain = "One row per user: the most busy first."
key = ["user_id"]
columns = { user_id = "string", events = "bigint" }
sql = "SELECT user_id, sum(events) AS events FROM gold.user_days GROUP BY user_id"

[[marts]]
name = "sizes"
grain = "One row per night."
key = ["what"]
period = "night"
columns = { what = "string", users = "bigint" }
sql = "SELECT 'users by :night' AS what, count(DISTINCT user_id) AS users FROM gold.user_days WHERE day <= :night"
"""


def own(at: Project, day: date = NEXT) -> None:
    """Make user days and the project's own marts."""
    for mart in all_marts(at.settings):
        if mart.line or mart.table == T.USER_DAYS:
            marts.make_mart(at.night(day), mart)


def rewritten(at: Project, find: str, put: str) -> Project:
    """The project with its nightloom.toml changed."""
    file = at.settings.file
    assert find in file.read_text()
    file.write_text(file.read_text().replace(find, put))
    return replace(at, settings=load(file))


@pytest.fixture(scope="module")
def mine(quick: None, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two nights of a project with marts of its own."""
    at = project(tmp_path_factory.mktemp("own"), spark, TOML + OWN)
    for day, events in (
        (D, [like(D, 1, "u1"), like(D, 2, "u2")]),
        (NEXT, [like(NEXT, 3, "u2"), like(NEXT, 4, "u3", weight=0.0)]),
    ):
        add_events(at, *events, day=day)
        own(at, day)
    return at


def table_of(at: Project, name: str) -> Table:
    return next(mart.table for mart in all_marts(at.settings) if mart.table.name == name)


def test_a_section_of_the_file_is_a_table_with_its_contract(mine: Project) -> None:
    likes, busiest, sizes = (table_of(mine, name) for name in ("likes", "busiest", "sizes"))
    assert [(row["day"], row["likes"]) for row in mine.rows(likes)] == [(D, 2), (NEXT, 1)]
    assert [(row["user_id"], row["events"]) for row in mine.rows(busiest)] == [("u1", 1), ("u2", 2), ("u3", 1)]
    assert [(row["night"], row["users"]) for row in mine.rows(sizes)] == [(D, 2), (NEXT, 3)]
    assert mine.rows(sizes)[0]["what"] == "users by :night"
    fields = {field.name: field for field in mine.night().lake.open(likes).schema().fields}
    assert [name for name, field in fields.items() if not field.nullable] == ["day", "event"]
    assert fields["likes"].metadata["comment"] == "Interactions with a weight"
    assert busiest.columns[0].personal


def test_a_mart_is_rebuilt_only_when_an_input_or_its_sql_changes(mine: Project) -> None:
    lake, names = mine.night().lake, ("likes", "busiest", "sizes")
    versions = [lake.version(table_of(mine, name)) for name in names]
    own(mine)
    assert [lake.version(table_of(mine, name)) for name in names] == versions
    at = rewritten(mine, "count_if(weight > 0) AS likes", "count(*) AS likes")
    at = rewritten(at, 'user_id = "string", events = "bigint" }', 'user_id = "string", times = "bigint" }')
    at = rewritten(at, "sum(events) AS events", "sum(events) AS times")
    own(at)
    assert [row["likes"] for row in at.rows(table_of(at, "likes"))] == [2, 2]
    assert [row["times"] for row in at.rows(table_of(at, "busiest"))] == [1, 2, 1]


WRONG = {
    "SELECT u.usr_id AS user_id, 1 AS n FROM silver.users u": r"no column usr_id. Did you mean 'user_id'",
    "SELECT user_id, count(*) AS m FROM silver.users GROUP BY 1": r"n is not among them.*m is not declared",
    "SELECT user_id, '1' AS n FROM silver.users": r"n is string, declared bigint",
    "SELECT 'u' AS user_id, id AS n FROM range(2)": r"the key user_id must be there and stand once, found user_id u: 2",
    "SELECT CAST(null AS STRING) AS user_id, id AS n FROM range(1)": r"found user_id None: 1 rows",
}
"""SQL that loads -> what is wrong with it. A mistake that needs no data is found at load (test_settings_errors.py)."""


def test_a_failed_mart_is_reported_with_its_line_and_the_others_are_built(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = "\n[[marts]]\nname = 'm{}'\ngrain = 'One row per user.'\nkey = ['user_id']\n"
    columns = "columns = {{ user_id = 'string', n = 'bigint' }}\nsql = '''{}'''\n"
    wrong = "".join((section + columns).format(number, sql) for number, sql in enumerate(WRONG))
    at = project(tmp_path, spark, TOML + wrong + OWN)
    add_events(at, like(D, 1, "u1"), day=D)
    monkeypatch.setattr("spark_jobs.marts.all_marts", lambda settings: [m for m in all_marts(settings) if m.line])
    with pytest.raises(MartError) as failed:
        at.run(marts.main)
    first, *mistakes = str(failed.value).split("\nnightloom.toml")
    assert first == f"{len(WRONG)} of {len(WRONG) + 3} marts could not be made:"
    lines = at.settings.file.read_text().splitlines()
    for number, (line, (sql, expected)) in enumerate(zip(mistakes, WRONG.items(), strict=True)):
        assert f"mart gold.m{number}" in line
        place = int(line.removeprefix(", line ").split(":")[0])
        assert sql.splitlines()[-1] in lines[place - 1]
        assert re.search(expected, line, re.DOTALL), line
    assert len(at.rows(table_of(at, "likes"))) == 1
