"""landing.py: which files are listed, and when; the content of a listing."""

import os
import threading
import time
from pathlib import Path

import pytest

from nightloom.errors import SettingsError
from spark_jobs.landing import BYTES_PER_COMMIT, find_file, listed_files, update_listing
from tests.spark_jobs.small_project import Row, source

NAMED = ("file", "modified", "length", "again")
RATINGS = source(path="in", settle_seconds=0)


@pytest.fixture
def listings(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "listings"


def pending(listings: Path, since: int = 0) -> list[Row]:
    return [{name: row[name] for name in NAMED} for row in listed_files(listings) if row["number"] > since]


def listed(root: Path, listings: Path) -> list[Row]:
    """The files that a run lists after the run before has finished."""
    before = max((row["number"] for row in listed_files(listings)), default=0) if listings.exists() else 0
    update_listing(RATINGS, root, listings)
    return pending(listings, before)


def test_a_file_is_listed_once_and_again_when_it_has_changed(tmp_path: Path, listings: Path) -> None:
    file = tmp_path / "in" / "a.jsonl"
    file.write_text("one\n")
    os.utime(file, (0, 7))
    assert listed(tmp_path, listings) == [{"file": "in/a.jsonl", "modified": 7_000_000, "length": 4, "again": False}]
    assert listed(tmp_path, listings) == []
    file.write_text("one\ntwo\n")
    os.utime(file, (0, 7))
    assert listed(tmp_path, listings) == [{"file": "in/a.jsonl", "modified": 7_000_000, "length": 8, "again": True}]
    os.utime(file, (0, 8))
    assert [row["again"] for row in listed(tmp_path, listings)] == [True]
    assert listed(tmp_path, listings) == []


NAMES = (".a.jsonl", "_a.jsonl", "a.jsonl.tmp", "a.jsonl.PART", "a.crdownload", "a~", ".day/a.jsonl", "_day/b/a.jsonl")


@pytest.mark.parametrize("name", NAMES)
def test_an_unfinished_or_hidden_file_is_left_until_it_has_its_name(name: str, tmp_path: Path, listings: Path) -> None:
    file = tmp_path / "in" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert listed(tmp_path, listings) == []
    file.rename(tmp_path / "in" / "a.jsonl")
    assert [row["file"] for row in listed(tmp_path, listings)] == ["in/a.jsonl"]


def test_files_in_folders_and_behind_links_are_found_wherever_they_lie(tmp_path: Path, listings: Path) -> None:
    (tmp_path / "in" / "2024").mkdir()
    (tmp_path / "in" / "2024" / "a.jsonl").touch()
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.jsonl").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "far")
    assert [row["file"] for row in listed(tmp_path, listings)] == ["in/2024/a.jsonl", "in/link/b.jsonl"]


def test_a_name_that_is_no_text_is_listed_and_found_again_and_a_pipe_is_no_file(tmp_path: Path, listings: Path) -> None:
    os.mkfifo(tmp_path / "in" / "pipe")
    for name in (b"caf\xe9.csv", "caf\ufffdE8.csv".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/" + name)).write_bytes(name)
    names = [row["file"] for row in listed(tmp_path, listings)]
    assert names == ["in/caf\ufffdE8.csv", "in/caf\ufffdE9.csv"]
    assert [find_file(tmp_path, name).read_bytes() for name in names] == ["caf\ufffdE8.csv".encode(), b"caf\xe9.csv"]


def test_a_file_outside_the_project_has_its_absolute_path(tmp_path: Path, listings: Path) -> None:
    (tmp_path / "in" / "a.jsonl").touch()
    update_listing(source(path=str(tmp_path / "in"), settle_seconds=0), tmp_path / "project", listings)
    assert [row["file"] for row in pending(listings)] == [str(tmp_path / "in" / "a.jsonl")]


def test_a_file_that_stands_still_is_waited_for_and_a_growing_one_is_left_and_named(
    tmp_path: Path, listings: Path
) -> None:
    whole, growing = tmp_path / "in" / "whole.jsonl", tmp_path / "in" / "growing.jsonl"
    for file in (whole, growing):
        file.write_text("one\n")
    os.utime(whole, (2**33, 2**33))  # its writer's clock is wrong
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.05):
            with growing.open("a") as out:
                out.write("more\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        began = time.monotonic()
        left = update_listing(source(path="in", settle_seconds=0.5), tmp_path, listings)
        assert 0.4 < time.monotonic() - began < 5
    finally:
        stop.set()
        writer.join()
    assert left == ["in/growing.jsonl"]
    assert [row["file"] for row in pending(listings)] == ["in/whole.jsonl"]
    update_listing(source(path="in", settle_seconds=0), tmp_path, listings)
    assert [(row["file"], row["again"]) for row in pending(listings, since=1)] == [("in/growing.jsonl", False)]


def test_a_file_that_stood_still_before_is_not_waited_for(tmp_path: Path, listings: Path) -> None:
    file = tmp_path / "in" / "a.jsonl"
    file.touch()
    os.utime(file, (0, time.time() - 100))
    began = time.monotonic()
    assert update_listing(source(path="in", settle_seconds=60), tmp_path, listings) == []
    assert time.monotonic() - began < 10


def test_what_a_killed_run_listed_is_still_there(tmp_path: Path, listings: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / "in" / name).touch()
        update_listing(RATINGS, tmp_path, listings)
    assert [(row["number"], row["file"]) for row in listed_files(listings)] == [(1, "in/a.jsonl"), (2, "in/b.jsonl")]
    assert not any(row["again"] for row in listed_files(listings))


def test_a_large_landing_is_several_listings(tmp_path: Path, listings: Path) -> None:
    for name in ("a", "b", "c"):
        with (tmp_path / "in" / name).open("wb") as out:
            out.truncate(BYTES_PER_COMMIT // 2)
    assert len(listed(tmp_path, listings)) == 3
    assert {row["number"] for row in listed_files(listings)} == {1, 2}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"source 'ratings': there is no folder .*/in; create it, or mend"):
        update_listing(RATINGS, tmp_path, tmp_path / "listings")
