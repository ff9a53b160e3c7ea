"""`nightloom backfill` by the real Airflow: killed in the middle and called again, it ends the same; what differs."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from nightloom.contracts import RECOMMENDATIONS, STAGES
from nightloom.errors import MissingTableError
from nightloom.local.airflow_cleanup import processes
from nightloom.local.airflow_runs import DagRun
from nightloom.local.backfill import BackfillError, BackfillRequest, backfill, chunks
from nightloom.local.backfill_comparison import Difference, compare, print_differences
from nightloom.places import folder_of
from tests.first_night import SMALL, Project
from tests.nightloom import shop

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves

DAY_BEFORE = shop.LAST - timedelta(days=1)
PAGE = (Path(__file__).parents[2] / "docs" / "backfill.md").read_text(encoding="utf8")
WORDS, ONLY_COMPARE, FROM_BRONZE = (tuple(line.split()) for line in re.findall(r"^\./run (backfill .+)$", PAGE, re.M))
"""The page's commands, in its order: they are what is run here."""


@dataclass(frozen=True)
class Story:
    project: Project
    undisturbed: dict[str, list[str]]
    compared: list[Difference]
    killed: list[DagRun]
    again: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Story:
    project = shop.create(tmp_path_factory.mktemp("shop"))
    shop.night(project, spark, shop.LAST, shop.SILVER)
    shop.night(project, spark, DAY_BEFORE, shop.TRAINING)
    shop.night(project, spark, DAY_BEFORE, shop.GOLD, shop.PUBLISHED, options=("--model", "1"))
    shop.night(project, spark, shop.LAST, shop.GOLD, shop.PUBLISHED, options=("--model", "2"))
    undisturbed = project.content()
    shop.night(project, spark, DAY_BEFORE, shop.LISTS, options=("--model", "1"), run="backfill__1")
    shop.night(project, spark, shop.LAST, shop.LISTS, options=("--model", "1"), run="backfill__2")
    compared = compare(project.settings, [DAY_BEFORE, shop.LAST, shop.LAST + timedelta(days=1)])
    shutil.rmtree(folder_of(project.lake.root) / "gold")
    killed = shop.kill_in_the_middle(project, WORDS, 1, airflow=True)
    return Story(project, undisturbed, compared, killed, project.nightloom(*WORDS))


@pytest.mark.slow
def test_killed_in_the_middle_and_called_again_it_ends_equal_to_nights_that_nobody_disturbed(story: Story) -> None:
    assert [run.state for run in story.killed] == ["success", "running"]
    assert story.again.returncode == 0, story.again.stderr
    content = story.project.content()
    assert content.keys() == story.undisturbed.keys()
    for table, rows in story.undisturbed.items():
        assert content[table] == rows, table


@pytest.mark.slow
def test_what_was_done_before_the_kill_is_not_done_again(story: Story) -> None:
    ran = story.project.lake.rows(
        STAGES, "run_id LIKE 'backfill__2024-%' AND status = 'ok'", ["night", "stage"]
    ).to_pylist()
    assert sum(row["night"] == DAY_BEFORE for row in ran) == 3
    assert "1 of 2 nights are rebuilt already" in story.again.stdout


@pytest.mark.slow
def test_each_night_is_scored_by_the_model_that_it_was_published_with(story: Story) -> None:
    where = "run_id LIKE 'backfill__2024-%' AND stage = 'spark_jobs.gold_recommendations' AND status = 'ok'"
    rows = story.project.lake.rows(STAGES, where).to_pylist()
    assert {row["night"]: dict(row["tags"])["model_version"] for row in rows} == {DAY_BEFORE: "1", shop.LAST: "2"}


@pytest.mark.slow
def test_it_leaves_no_process_and_no_spark_server_behind_and_publishes_nothing(story: Story) -> None:
    assert processes(story.project.settings.place("airflow")) == []
    assert not (story.project.settings.place("home") / "spark" / "server.json").exists()
    assert not story.project.settings.place("store").exists()


@pytest.mark.slow
def test_a_night_that_fails_ends_the_backfill_with_its_chunk_and_the_command_says_why(story: Story) -> None:
    failed = story.project.nightloom(*WORDS, "--chunk", "1", "--model", "99")
    assert failed.returncode == 1
    assert f"{DAY_BEFORE}: spark_jobs.gold_recommendations: RegistryError" in failed.stderr
    assert "model small has no version 99" in failed.stderr
    assert str(shop.LAST) not in failed.stdout


@pytest.mark.slow
def test_thirty_days_from_bronze_killed_twice_end_equal_to_thirty_that_nobody_disturbed(
    tmp_path: Path, spark: SparkSession
) -> None:
    project = shop.create(tmp_path / "quiet")
    shop.night(project, spark, shop.LAST, shop.SILVER)
    shop.night(project, spark, DAY_BEFORE, shop.TRAINING)
    disturbed = Project(shutil.copytree(project.root, tmp_path / "disturbed"))
    for ago in reversed(range(30)):
        shop.night(project, spark, shop.LAST - timedelta(days=ago), shop.GOLD, options=("--model", "as-published"))
    shutil.rmtree(folder_of(disturbed.lake.root) / "silver")
    shop.kill_in_the_middle(disturbed, FROM_BRONZE, 9, airflow=False)
    shop.kill_in_the_middle(disturbed, FROM_BRONZE, 20, airflow=True)
    again = disturbed.nightloom(*FROM_BRONZE, seconds=3000)
    assert again.returncode == 0, again.stderr
    assert "of 30 nights are rebuilt already" in again.stdout
    content, undisturbed = disturbed.content(), project.content()
    assert content.keys() == undisturbed.keys()
    for table, rows in undisturbed.items():
        assert content[table] == rows, table


@pytest.mark.slow
def test_a_night_that_was_rebuilt_as_it_was_is_the_same_and_nothing_explains_it(story: Story) -> None:
    same = story.compared[0]
    assert (same.verdict, same.overlap, same.popular_differs, same.because) == ("same", 1.0, False, {})
    assert same.users == same.same > 50
    assert same.versions[RECOMMENDATIONS.full_name][0] < same.versions[RECOMMENDATIONS.full_name][1]


@pytest.mark.slow
def test_another_model_makes_other_lists_and_is_named(story: Story) -> None:
    other = story.compared[1]
    assert (other.verdict, other.because) == ("other", {"model": "2 -> 1"})
    assert other.overlap is not None
    assert other.same < other.users
    assert 0 < other.overlap < 1
    assert (other.only_published, other.only_rebuilt, other.popular_differs) == (0, 0, False)


@pytest.mark.slow
def test_a_night_that_was_never_published_cannot_be_compared(story: Story) -> None:
    assert story.compared[2].verdict == "was never published"


@pytest.mark.slow
def test_the_comparison_is_json_for_programs_and_a_table_for_people(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    done = story.project.nightloom(*ONLY_COMPARE, "--json")
    assert [each["night"] for each in json.loads(done.stdout)] == [str(DAY_BEFORE), str(shop.LAST)], done.stderr
    print_differences(story.compared, as_json=False)
    rows = [line for line in capsys.readouterr().out.splitlines() if "2024-02" in line]
    words = (" same ", "model 2 -> 1", "was never published")
    assert all(word in row for word, row in zip(words, rows, strict=True)), rows


D = date(2024, 2, 1)


def days(*numbers: int) -> list[date]:
    return [D + timedelta(days=number) for number in numbers]


@pytest.mark.parametrize(
    ("nights", "made"),
    [
        (days(), []),
        (days(0, 1, 2, 3, 4), [days(0, 1, 2), days(3, 4)]),
        (days(0, 2, 3, 4, 5), [days(0), days(2, 3, 4), days(5)]),
    ],
)
def test_a_chunk_is_days_in_a_row_for_airflow_takes_a_first_and_a_last(
    nights: Sequence[date], made: list[list[date]]
) -> None:
    assert chunks(list(nights), 3) == made


def test_only_nights_of_the_same_request_count_as_done() -> None:
    asked = BackfillRequest("2024-02-01", "2024-02-03", "as-published", False, "2024-03-01T00:00:00+00:00")
    earlier = {"asked": asked.conf["asked"] | {"at": "2024-02-20T00:00:00+00:00"}}
    runs = [
        DagRun("a", "success", D, 1.0, asked.conf),
        DagRun("b", "success", D + timedelta(days=1), 1.0, earlier),
        DagRun("c", "failed", D + timedelta(days=2), 1.0, asked.conf),
    ]
    assert asked.left(runs) == days(1, 2)


@pytest.mark.parametrize(("first", "last"), [("2024-02-03", "2024-02-01"), ("2024-02-03", "2098-01-01")])
def test_nights_that_cannot_be_are_refused_before_anything_starts(
    first: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(Project.create(tmp_path, SMALL).settings.file))
    result = CliRunner().invoke(backfill, ["--from", first, "--to", last])
    assert isinstance(result.exception, BackfillError)


def test_a_lake_without_silver_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(Project.create(tmp_path, SMALL).settings.file))
    result = CliRunner().invoke(backfill, ["--from", "2024-02-01", "--to", "2024-02-02"])
    assert isinstance(result.exception, MissingTableError)
