"""One night in a folder, and the same night with every place in a bucket: the same tables and the same lists."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from nightloom.contracts import TABLES
from nightloom.places import Place, files_below, place_at, upload_folder
from serving.stores import open_store
from serving.stores.reader import Reader
from tests.first_night import SMALL, Project, days_arrive, serving
from tests.minio import minio

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("minio")]
NIGHT = date(2024, 2, 4)
SECONDS = 2700
"""Of a night on a machine that does much else."""
IN_FILES = SMALL.replace("[slate]\n", '[store]\nkind = "files"\n\n[slate]\n')
IN_A_BUCKET = IN_FILES.replace('path = "', 'path = "s3://shop/') + (
    '\n[places]\nhome = "s3://shop/home"\nscratch = "scratch"\nmlflow = "sqlite:///mlflow.db"\n'
)
OF_THE_RUN = {
    "row_id", "file", "file_modified_at", "ingested_at", "generated_at", "run_id", "updated_at", "published_at",
    "quarantined_at", "checked_at",
}  # fmt: skip
"""Columns that say when a row was written, or by the path of its file where it came from."""


@dataclass(frozen=True)
class Nights:
    folder: Project
    bucket: Project
    listed: dict[str, Any]
    """What the API of the project in the bucket answered: a list by its user."""


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    root = tmp_path_factory.mktemp("shops")
    with minio(root) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        bucket = server.make_bucket("shop")
        projects = Project.create(root / "folder", IN_FILES), Project.create(root / "bucket", IN_A_BUCKET)
        sample = ("--users", "150", "--items", "80", "--days", "37", "--seed", "11", "--events", "6000")
        assert projects[0].nightloom("sample", "synthetic", *sample, "--to", str(root / "made")).returncode == 0
        days_arrive(root / "made", projects[0].root / "landing", NIGHT)
        upload_folder(projects[0].root / "landing", place_at(f"{bucket}/landing"))
        for project in projects:
            done = project.nightloom("night", "--date", str(NIGHT), seconds=SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr
        with serving(projects[1]) as api:
            listed = {user: api.get(f"/v1/users/{user}/recommendations") for user in ("u1", "u2", "nobody")}
        yield Nights(*projects, listed)


def content(project: Project) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table but those of ops, sorted."""
    found = {}
    for table in TABLES:
        if table.layer != "ops" and project.lake.exists(table):
            names = [f'"{name}"' for name in table.column_names if name not in OF_THE_RUN]
            rows = project.lake.rows(table, columns=names).to_pylist()
            found[table.full_name] = sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))
    return found


def lists(project: Project) -> dict[str, Any]:
    """User -> items and scores of the served version."""
    rows = map(json.loads, Reader(open_store(project.settings)).current().values("users"))
    return {row["user"]: (row["items"], row["scores"]) for row in rows}


def test_the_tables_are_the_same(nights: Nights) -> None:
    in_folder, in_bucket = content(nights.folder), content(nights.bucket)
    assert in_folder.keys() == in_bucket.keys()
    assert len(in_folder["silver.interactions"]) > 5000
    for name, rows in in_folder.items():
        assert in_bucket[name] == rows, name


def test_the_lists_are_the_same_and_are_served(nights: Nights) -> None:
    in_folder, in_bucket = lists(nights.folder), lists(nights.bucket)
    assert len(in_folder) > 140
    assert in_folder.keys() == in_bucket.keys()
    for user, (items, scores) in in_folder.items():
        assert in_bucket[user][0] == items, user
        assert all(map(math.isclose, in_bucket[user][1], scores)), user
    for user in ("u1", "u2"):
        assert [item["item_id"] for item in nights.listed[user]["items"]] == in_folder[user][0][:10]
    assert len(nights.listed["nobody"]["items"]) == 10


def names(place: Place) -> set[str]:
    return {name for name, _, _ in files_below(place)}


def test_everything_that_is_kept_is_in_the_bucket(nights: Nights) -> None:
    home = nights.bucket.settings.place("home")
    assert {f"{NIGHT}.html", f"slate-{NIGHT}.html"} <= names(home / "reports")
    assert "index.html" in names(home / "data-docs")
    assert any(name.endswith("MLmodel") for name in names(home / "mlflow"))
    assert any(name.startswith("notes/") for name in names(home / "store"))
    assert names(home / "training") == set()
    local = {path.name for path in Path(nights.bucket.root).iterdir()}
    assert local <= {"nightloom.toml", "mlflow.db", "scratch", "serve.log"}
    kept = {path.name for path in (nights.bucket.root / "scratch").iterdir()}
    assert kept <= {"airflow", "explainer.json", "explainer.lock", "models", "serving", "spark", "spill"}
