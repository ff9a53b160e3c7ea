"""MovieLens 100K -> events/DAY.jsonl.gz, items/catalogue.jsonl.gz, users/users.jsonl.gz in a landing folder.

One line per rating, item and user. Source: the wheel recbole 1.2.1 on PyPI, which contains the data set as an example
(100,000 ratings of 1,682 films by 943 users, 1997-09-20 to 1998-04-23, GroupLens: research use). Only its data is used:
the wheel is neither installed nor imported. Known bias: a user joins, rates for an hour, and rarely comes back.
"""

import csv
import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from nightloom.samples import SampleError
from nightloom.samples.landing import Landing

WHEEL = "recbole-1.2.1-py3-none-any.whl"
REQUIREMENT = "recbole==1.2.1"
SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
MEMBER = "recbole/dataset_example/ml-100k/ml-100k."
NO_GENRE = "unknown"  # the genre of films without one

Row = dict[str, Any]


def fetch(cache: Path) -> Path:
    """The wheel in `cache`, downloaded (2 MB) if missing. Raises SampleError if its checksum is wrong."""
    wheel = cache / WHEEL
    if not wheel.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _download(wheel)
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if checksum != SHA256:
        raise SampleError(
            f"{wheel} has sha256 {checksum}, expected {SHA256}: it is damaged or not the published file; "
            "move it away and run again to download it again"
        )
    return wheel


def _download(wheel: Path) -> None:
    """Download by pip, which knows this machine's index and proxy. A partial download never gets the final name."""
    if importlib.util.find_spec("pip") is None:
        raise SampleError(
            f"{sys.executable} has no pip to fetch {REQUIREMENT} with; run `{sys.executable} -m ensurepip`, "
            f"or put {WHEEL} into {wheel.parent}"
        )
    with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
        options = ["--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--disable-pip-version-check"]
        fetched = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "-d", folder, REQUIREMENT],
            capture_output=True,
            text=True,
        )
        if fetched.returncode != 0:
            raise SampleError(
                f"pip could not download {REQUIREMENT}: {' '.join(fetched.stderr.split()[-40:])}; "
                f"check the network and the index, or put {WHEEL} into {wheel.parent}"
            )
        (Path(folder) / WHEEL).replace(wheel)


def write(wheel: Path, landing: Landing, until: date | None = None) -> tuple[int, int]:
    """Write items, users, and the events of each UTC day up to `until`. Returns the numbers of events and days."""
    with zipfile.ZipFile(wheel) as archive:
        landing.write("items/catalogue.jsonl.gz", _lines(map(_item, read(archive, "item"))))
        landing.write("users/users.jsonl.gz", _lines(map(_user, read(archive, "user"))))
        events = sorted(map(_event, read(archive, "inter")), key=lambda event: str(event["at"]))
    written = days = 0
    for day, group in groupby(events, key=lambda event: str(event["at"])[:10]):
        if until and day > until.isoformat():
            break
        rows = list(group)
        landing.write(f"events/{day}.jsonl.gz", _lines(rows))
        written, days = written + len(rows), days + 1
    return written, days


def read(archive: zipfile.ZipFile, kind: str) -> Iterator[dict[str, str]]:
    """Rows of one tab-separated member, by field name; the header's types (`user_id:token`) are dropped."""
    with archive.open(MEMBER + kind) as member:
        lines = csv.reader(io.TextIOWrapper(member, "utf8", newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        names = [name.partition(":")[0] for name in next(lines)]
        for line in lines:
            yield dict(zip(names, line, strict=True))


def _event(row: dict[str, str]) -> Row:
    seconds = int(row["timestamp"])
    # Ratings have no id in the data set; user, item and time give one that is the same on every machine.
    key = f"{row['user_id']}|{row['item_id']}|{seconds}"
    return {
        "event_id": f"ml-{hashlib.sha256(key.encode()).hexdigest()[:16]}",
        "user_id": row["user_id"],
        "item_id": row["item_id"],
        "event": "rating",
        "value": float(row["rating"]),
        "at": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def _item(row: dict[str, str]) -> Row:
    year = row["release_year"]
    return {
        "item_id": row["item_id"],
        "title": row["movie_title"],
        "year": int(year) if year.isdigit() else None,
        "genres": [genre for genre in row["class"].split() if genre != NO_GENRE],
    }


def _user(row: dict[str, str]) -> Row:
    return {
        "user_id": row["user_id"],
        "age": int(row["age"]),
        "gender": row["gender"],
        "occupation": row["occupation"],
        "zip": row["zip_code"],
    }


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
