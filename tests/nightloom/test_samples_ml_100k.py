"""MovieLens 100K from the real wheel (downloaded once into the user's cache), in a landing folder as of a web app."""

import gzip
import json
import os
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nightloom.samples import SampleError, ml_100k
from nightloom.samples.command import cache_folder, sample
from nightloom.samples.landing import Landing


def rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf8") as lines:
        return [json.loads(line) for line in lines]


def modification_times(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*.gz")}


@pytest.fixture(scope="module")
def wheel() -> Path:
    return ml_100k.fetch(cache_folder())


@pytest.fixture(scope="module")
def folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    assert ml_100k.write(wheel, Landing(folder)) == (100_000, 213)
    return folder


def test_every_rating_is_written_once_to_the_file_of_its_utc_day_in_time_order(folder: Path) -> None:
    by_day = {file.name[:10]: rows(file) for file in (folder / "events").iterdir()}
    assert len({event["event_id"] for events in by_day.values() for event in events}) == 100_000
    for day, events in by_day.items():
        times = [event["at"] for event in events]
        assert times == sorted(times)
        assert {at[:10] for at in times} == {day}


def test_an_event_has_the_fields_that_a_web_app_sends(folder: Path) -> None:
    events = rows(folder / "events/1997-12-04.jsonl.gz")
    assert [event for event in events if (event["user_id"], event["item_id"]) == ("196", "242")] == [
        {
            "event_id": "ml-0dee7fa8ff208575",
            "user_id": "196",
            "item_id": "242",
            "event": "rating",
            "value": 3.0,
            "at": "1997-12-04T15:55:49Z",
        }
    ]


def test_items_have_titles_years_and_genres_with_null_or_an_empty_list_if_unknown(folder: Path) -> None:
    items = {item["item_id"]: item for item in rows(folder / "items/catalogue.jsonl.gz")}
    assert len(items) == 1682
    assert items["1"] == {
        "item_id": "1",
        "title": "Toy Story",
        "year": 1995,
        "genres": ["Animation", "Children's", "Comedy"],
    }
    assert (items["267"]["year"], items["267"]["genres"]) == (None, [])
    assert items["1633"]["title"] == "Á köldum klaka (Cold Fever)"


def test_the_users_have_their_attributes(folder: Path) -> None:
    users = {user["user_id"]: user for user in rows(folder / "users/users.jsonl.gz")}
    assert len(users) == 943
    assert users["1"] == {"user_id": "1", "age": 24, "gender": "M", "occupation": "technician", "zip": "85711"}


def test_a_later_until_adds_the_next_days_file_and_changes_no_other(wheel: Path, tmp_path: Path) -> None:
    ml_100k.write(wheel, Landing(tmp_path), until=date(1997, 9, 22))
    before = modification_times(tmp_path)
    again = Landing(tmp_path)
    ml_100k.write(wheel, again, until=date(1997, 9, 23))
    after = modification_times(tmp_path)
    assert after.keys() - before.keys() == {"events/1997-09-23.jsonl.gz"}
    assert {name: after[name] for name in before} == before
    assert (again.written, again.unchanged) == (1, len(before))


def test_the_same_wheel_gives_the_same_bytes(wheel: Path, folder: Path, tmp_path: Path) -> None:
    ml_100k.write(wheel, Landing(tmp_path), until=date(1997, 9, 20))
    for file in tmp_path.rglob("*.gz"):
        assert file.read_bytes() == (folder / file.relative_to(tmp_path)).read_bytes()


def test_a_wheel_with_a_wrong_checksum_is_an_error_and_stays_in_place(tmp_path: Path) -> None:
    wrong = tmp_path / ml_100k.WHEEL
    with zipfile.ZipFile(wrong, "w") as archive:
        archive.writestr("something", "else")
    with pytest.raises(SampleError, match=f"has sha256 [0-9a-f]{{64}}, expected {ml_100k.SHA256}.*move it away"):
        ml_100k.fetch(tmp_path)
    assert wrong.exists()


def test_a_failed_download_says_what_to_do_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # pip itself, with an empty folder instead of an index
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", os.fspath(tmp_path))
    with pytest.raises(SampleError, match=r"pip could not download recbole==1\.2\.1.*put recbole"):
        ml_100k.fetch(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_command_prints_one_line_with_the_numbers(wheel: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(sample, ["ml-100k", "--to", f"{tmp_path}", "--until", "1997-09-21"])
    assert result.exit_code == 0
    assert (
        result.stdout == f"{tmp_path}: 4 files written, 0 kept as they were; {_events(tmp_path):,} events on 2 days\n"
    )


def _events(folder: Path) -> int:
    return sum(len(rows(file)) for file in (folder / "events").iterdir())
