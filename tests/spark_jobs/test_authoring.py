"""docs/authoring.md as it stands: a source, a mart and a table with code come to a small project.

tests/test_one_file_additions.py runs the page's model and its rule.
"""

from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from nightloom import contracts as T
from nightloom.night.stages import Stage
from nightloom.sql.marts import all_marts
from spark_jobs import bronze, silver_interactions
from spark_jobs.commit_stamps import is_up_to_date
from spark_jobs.context import SparkNight
from spark_jobs.marts import make_mart
from tests.authoring_page import examples
from tests.spark_jobs.small_project import TOML, D, Project, frame, project

SOURCE, MART, TABLE = "A source: one section", "A mart: one section", "A table with code: one file and a contract"


@pytest.fixture(scope="module")
def grown(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project after the page's two sections, its visits cleaned."""
    sections = [*examples(SOURCE, "toml"), *examples(MART, "toml")]
    at = project(tmp_path_factory.mktemp("authoring"), spark, "\n".join([TOML, *sections]))
    (at.settings.root / "landing" / "visits" / "2024-03-01.csv").write_text(examples(SOURCE, "csv")[0])
    at.run(bronze.main, silver_interactions.main)
    return at


def test_the_new_sources_events_are_interactions(grown: Project) -> None:
    found = {(row["event_id"], row["user_id"], row["item_id"], row["weight"]) for row in grown.rows(T.INTERACTIONS)}
    assert found == {("v1", "u1", "i1", 0.0), ("v2", "u1", "i2", 0.1), ("v3", "u7", "i1", 0.1)}


def test_the_new_mart_counts_them(grown: Project) -> None:
    mart = all_marts(grown.settings)[-1]
    make_mart(grown.night(), mart)
    assert [(row["item_id"], row["visits"], row["mean_seconds"]) for row in grown.rows(mart.table)] == [
        ("i1", 2, 26.0), ("i2", 1, 95.0),
    ]  # fmt: skip


def test_the_new_table_with_code_is_made_by_its_contract(grown: Project, spark: SparkSession) -> None:
    contract, stage, entry = examples(TABLE, "python")
    names: dict[str, Any] = dict(vars(T))
    exec(contract, names)
    names |= {"DataFrame": DataFrame, "Window": Window, "F": F, "SparkNight": SparkNight, "date": date}
    names["is_up_to_date"] = is_up_to_date
    names["__name__"] = "gold_streaks"
    exec(stage, names)
    exec(entry, listed := {"Stage": Stage})
    assert listed["STREAKS"].writes == (names["STREAKS"].full_name,)
    rows = [{"user_id": user, "day": date(2024, day // 100, day % 100)} for user, days in DAYS.items() for day in days]
    made = names["streaks"](frame(spark, rows, T.USER_DAYS), D)
    assert {row["user_id"]: row["days"] for row in made.collect()} == {"u1": 2, "u3": 1}
    make_mart(grown.night(), all_marts(grown.settings)[0])
    names["main"](grown.night())
    assert [(row["user_id"], row["days"]) for row in grown.rows(names["STREAKS"])] == [("u1", 1), ("u7", 1)]


DAYS = {"u1": [301, 229, 226], "u2": [229, 228], "u3": [302, 301]}
