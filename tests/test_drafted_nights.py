"""Three public sets: `nightloom init` drafts a project from their files, and its night publishes without an edit."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nightloom.contracts import BRONZE, INTERACTIONS, ITEMS, QUARANTINE_ROWS, UNUSED_ROWS, USERS
from tests.first_night import Project
from tests.spark_jobs import shops

SILVER = {"events": INTERACTIONS, "items": ITEMS, "users": USERS}
NIGHT_SECONDS = 3_600


def _present(files: list[Path]) -> Callable[[Path], list[Path]]:
    return lambda folder: [file for file in files if file.exists()]


SETS: dict[str, tuple[Callable[[Path], list[Path]], list[str]]] = {
    "Online Retail": (_present(shops.ONLINE_RETAIL), ["time_zone"]),
    "MovieTweetings": (_present(shops.MOVIETWEETINGS), []),
    "MovieLens 100K": (shops.real_movielens_100k, []),
}
"""Set -> its files, and the keys that a draft asks for: no file says whose clock it was."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_night_of_the_draft_publishes_and_accounts_for_each_row(name: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    find_files, asked = SETS[name]
    if not (files := find_files(tmp_path / "files")):
        pytest.skip(f"{name} is not on this machine")
    shop = Project(tmp_path / "shop")
    shop.root.mkdir()
    drafted = shop.nightloom("init", *map(str, files))
    assert drafted.returncode == 0, drafted.stderr
    assert not re.search(r" WARN (?!NativeCodeLoader)", drafted.stderr)  # this one comes before our settings
    assert re.findall(r"^QUESTION \w+, (\w+):", drafted.stdout, re.MULTILINE) == asked
    checked = shop.nightloom("check")
    assert checked.returncode == 0, checked.stderr
    (day,) = re.findall(r"^next: nightloom night --date (\S+)", drafted.stdout, re.MULTILINE)
    night = shop.nightloom("night", "--date", day, seconds=NIGHT_SECONDS)
    assert night.returncode == 0, night.stdout[-4_000:] + night.stderr[-4_000:]
    check_rows(shop)
    (user,) = shop.lake.rows(INTERACTIONS, "weight > 0 ORDER BY occurred_at DESC LIMIT 1", ["user_id"])["user_id"]
    answer = shop.read("recommend", user.as_py())
    assert answer["items"]


def check_rows(shop: Project) -> None:
    """Each line of the files is in a record of bronze, and each record is used, skipped or in quarantine."""
    for kind, table in BRONZE.items():
        sources = shop.settings.sources_of(kind)
        if not sources:
            continue
        lines = sum(records_of(shop.root / str(source.path), header=source.header) for source in sources)
        landed = shop.lake.rows(table, columns=["row_id"])["row_id"].to_pylist()
        assert len(landed) == lines
        ends = (
            shop.lake.rows(end, columns=["row_id"])["row_id"].to_pylist()
            for end in (SILVER[kind], QUARANTINE_ROWS, UNUSED_ROWS)
        )
        assert {*landed} <= {row for end in ends for row in end}


def records_of(folder: Path, *, header: bool) -> int:
    """Lines of a folder's files, without the headers: no value of these sets has a line end."""
    lines = 0
    for file in (file for file in folder.iterdir() if file.is_file()):
        text = file.read_bytes()
        lines += len((gzip.decompress(text) if file.suffix == ".gz" else text).splitlines()) - header
    return lines
