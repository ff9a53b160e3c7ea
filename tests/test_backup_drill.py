"""The drill of docs/backup.md with whole nights: backup, the project is destroyed, restore, the next night."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from models import registry
from tests.first_night import SMALL, Api, Project, days_arrive, serving

FIRST, SECOND = date(2024, 2, 4), date(2024, 2, 5)
USERS = ("u1", "u2", "nobody")


def lists(api: Api) -> dict[str, list[tuple[str, float]]]:
    """User -> items and scores of the served list."""
    served = {user: api.get(f"/v1/users/{user}/recommendations")["items"] for user in USERS}
    return {user: [(item["item_id"], item["score"]) for item in items] for user, items in served.items()}


def night(project: Project, day: date) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, float]]]]:
    """Run a night -> every table's rows, and lists."""
    done = project.nightloom("night", "--date", str(day))
    assert done.returncode == 0, done.stdout + done.stderr
    with serving(project) as api:
        return project.content(), lists(api)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's use of SQLAlchemy
def test_a_destroyed_project_is_restored_and_its_next_night_equals_an_undisturbed_one(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "shop", SMALL)
    made, landing, safe = tmp_path / "made", project.root / "landing", str(tmp_path / "safe")
    sample = ("--users", "150", "--items", "80", "--days", "37", "--seed", "11", "--events", "6000")
    assert project.nightloom("sample", "synthetic", *sample, "--to", str(made)).returncode == 0
    days_arrive(made, landing, FIRST)
    after_first = night(project, FIRST)
    days_arrive(made, landing, SECOND)  # unread, and so in the backup
    done = project.nightloom("backup", safe)
    assert done.returncode == 0, done.stderr
    undisturbed = night(project, SECOND)
    assert undisturbed[0] != after_first[0]

    shutil.rmtree(project.root)
    project.root.mkdir()
    done = project.nightloom("restore", safe)
    assert done.returncode == 0, done.stderr
    with serving(project) as api:  # before any night
        assert (project.content(), lists(api)) == after_first
    tables, served = night(project, SECOND)
    assert tables.keys() == undisturbed[0].keys()
    for table, rows in undisturbed[0].items():
        assert tables[table] == rows, table
    assert served == undisturbed[1]

    other = Project(tmp_path / "another machine")
    other.root.mkdir()
    done = other.nightloom("restore", safe)
    assert done.returncode == 0, done.stderr
    found = registry.champion(other.settings)
    assert found is not None
    assert found.folder.is_relative_to(other.root)
    assert found.model.name
