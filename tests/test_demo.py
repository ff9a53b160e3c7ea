"""`nightloom demo` as a person starts it: MovieLens 100K, the real scheduler, and all that it leaves behind."""

import re
import subprocess
from datetime import date
from pathlib import Path

import pytest

from models import registry
from nightloom.contracts import INTERACTIONS, ITEMS
from nightloom.local.dags_test import DatabaseRuns
from tests.first_night import Project

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
NIGHT, USER = date(1998, 4, 21), "196"
GIB_ALLOWED = 8


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    toml = (CHECKOUT / "nightloom.toml").read_text(encoding="utf8")
    return Project.create(tmp_path_factory.mktemp("demo"), toml)


@pytest.fixture(scope="module")
def shown(project: Project) -> subprocess.CompletedProcess[str]:
    done = project.nightloom("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_demo_ends_with_seconds_memory_a_real_list_and_what_to_do_next(
    shown: subprocess.CompletedProcess[str],
) -> None:
    found = re.search(r"From trigger to published: (\d+) s\. Peak memory of all processes: ([\d.]+) GiB", shown.stdout)
    assert found, shown.stdout
    assert float(found[2]) < GIB_ALLOWED
    assert f"What user {USER} liked last" in shown.stdout
    assert "./run night --date 1998-04-22" in shown.stdout


def test_every_task_of_the_demo_went_well_under_the_scheduler(
    project: Project, shown: subprocess.CompletedProcess[str]
) -> None:
    runs = DatabaseRuns(project.settings.place("airflow"))
    run = runs.newest("nightly")
    assert run is not None
    ends = {end.task: end.state for end in runs.ends("nightly", run)}
    assert runs.state("nightly", run) == "success"
    assert set(ends.values()) == {"success"}


def test_user_196_gets_ten_titles_that_they_did_not_rate(
    project: Project, shown: subprocess.CompletedProcess[str]
) -> None:
    titles = [item["title"] for item in project.read("recommend", USER, "--k", "10")["items"]]
    interactions, items = project.lake.open(INTERACTIONS), project.lake.open(ITEMS)
    sql = f"SELECT i.title FROM e JOIN i USING (item_id) WHERE e.user_id = '{USER}'"
    rated = project.lake.query(sql, ("e", interactions), ("i", items))["title"].to_pylist()
    assert len(set(titles)) == 10
    assert not set(titles) & set(rated)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's use of SQLAlchemy
def test_the_champion_says_which_table_version_it_was_trained_on(
    project: Project, shown: subprocess.CompletedProcess[str]
) -> None:
    champion = registry.champion(project.settings)
    assert champion is not None
    assert champion.tags["table"] == INTERACTIONS.full_name
    assert champion.tags["table_version"].isdecimal()


def test_a_list_is_explained_down_to_events_and_data_docs_have_a_page_per_suite(
    project: Project, shown: subprocess.CompletedProcess[str]
) -> None:
    first = project.read("recommend", USER)["items"][0]["item_id"]
    assert project.read("explain", USER, "--item", first)["causes"]
    pages = {page.stem for page in project.settings.place("docs").rglob("*.html")}
    assert any("silver_interactions" in page or "silver.interactions" in page for page in pages), pages


def test_the_demo_can_be_run_again(project: Project, shown: subprocess.CompletedProcess[str]) -> None:
    before = project.read("recommend", USER)["items"]
    again = project.nightloom("demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert project.read("recommend", USER)["items"] == before
