"""`nightloom init` and `nightloom check` as somebody calls them: what they write, print, and how they end."""

from collections.abc import Callable
from csv import DictReader
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pyspark.sql import SparkSession

from nightloom.errors import DataError, ExitCode, NightloomError, SettingsError
from nightloom.settings import CONFIG_VARIABLE, load
from spark_jobs import context
from spark_jobs.draft.commands import UndecidedError, check, init
from spark_jobs.draft.preview import open_night, preview
from spark_jobs.draft.project import draft_project
from tests.spark_jobs import shops

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, spark: SparkSession, quick: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function: command and arguments -> its result. The project is tmp_path/shop."""
    (tmp_path / "shop").mkdir()
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "shop" / "nightloom.toml"))
    monkeypatch.setattr(context, "session", lambda settings: spark)
    return lambda command, *arguments: CliRunner().invoke(command, [str(argument) for argument in arguments])


def config(tmp_path: Path) -> Path:
    return tmp_path / "shop" / "nightloom.toml"


def test_init_and_check_account_for_each_row(run: Run, tmp_path: Path) -> None:
    files = shops.online_retail(tmp_path)
    done = run(init, *files)
    assert done.exit_code == 0, done.output
    assert "QUESTION online_retail, time_zone: which clock wrote InvoiceDate?" in done.output
    assert "a sample of online_retail goes through the checks of a night" in done.output
    assert "next: nightloom night --date 2011-10-20" in done.output
    assert (tmp_path / "shop/landing/online_retail/online-retail.csv").read_bytes() == files[0].read_bytes()
    found = preview(open_night(load(config(tmp_path))))
    sales, products = found.sources
    lines = [*DictReader(files[0].read_text().splitlines())]
    bought = [line for line in lines if line["CustomerID"] and int(line["Quantity"]) > 0]
    assert (sales.files, sales.read, sales.good) == (1, len(lines), len(bought))
    assert {*sales.skipped} == {"no_user", "nothing_bought"}
    assert sales.good + sales.skipped.total() == len(lines)
    assert (products.read, products.good) == (len(lines), len(lines))
    assert (found.users, found.likes) == (len({line["CustomerID"] for line in bought}), len(bought))
    days = sorted({line["InvoiceDate"][:10] for line in bought})
    assert (str(found.first), str(found.last), found.days) == (days[0], "2011-10-20", len(days))
    assert f"users {found.users}, items {found.items}, likes {found.likes}" in done.output


def test_init_writes_over_no_file_by_itself(run: Run, tmp_path: Path) -> None:
    config(tmp_path).write_text("mine")
    refused = run(init, *shops.movietweetings(tmp_path))
    assert isinstance(refused.exception, SettingsError)
    assert config(tmp_path).read_text() == "mine"


@pytest.mark.slow
def test_init_writes_over_a_file_by_force(run: Run, tmp_path: Path) -> None:
    config(tmp_path).write_text("mine")
    assert run(init, "--force", *shops.movietweetings(tmp_path)).exit_code == 0
    assert load(config(tmp_path)).project.name == "shop"


def test_a_draft_that_needs_an_answer_has_an_exit_code_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("sku,title\n1,A lamp\n2,A chair\n3,A table\n")
    done = run(init, tmp_path / "products.csv")
    assert isinstance(done.exception, UndecidedError)
    assert done.exception.exit_code == ExitCode.UNDECIDED
    assert "which file has the events" in done.output
    assert "QUESTION: which file has the events" in config(tmp_path).read_text()


@pytest.mark.slow
def test_few_days_of_events_are_judged_by_fewer(run: Run, tmp_path: Path) -> None:
    rows = (f"u{n % 4},i{n % 5},2024-03-{1 + n % 12:02d}" for n in range(60))
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item,day", *rows, ""]))
    assert run(init, tmp_path / "clicks.csv").exit_code == 0
    assert load(config(tmp_path)).training.holdout_days == 3


def test_check_says_why_a_source_has_no_good_row(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "landing" / "clicks"
    folder.mkdir(parents=True)
    rows = (f"u{n % 4},i{n % 5},{1_709_287_200 + n}" for n in range(30))
    (folder / "clicks.csv").write_text("\n".join(["user,item,at", *rows, ""]))
    text = draft_project([folder / "clicks.csv"], tmp_path / "shop").text()
    config(tmp_path).write_text(text.replace('timestamp_format = "seconds"', 'timestamp_format = "milliseconds"'))
    done = run(check)
    assert isinstance(done.exception, DataError)
    assert "no row of clicks is good" in str(done.exception)
    assert "expected timestamp as milliseconds" in done.output
    config(tmp_path).write_text(text.replace("[sources.columns]", "[sources.colums]"))
    assert isinstance(run(check).exception, SettingsError)


@pytest.mark.slow
def test_a_source_without_files_has_no_good_row(run: Run, tmp_path: Path) -> None:
    (ratings, movies) = shops.movietweetings(tmp_path)
    assert run(init, ratings, movies).exit_code == 0
    (tmp_path / "shop/landing/movies/movies.dat").unlink()
    done = run(check)
    assert isinstance(done.exception, NightloomError)
    assert "no row of movies is good" in str(done.exception)
