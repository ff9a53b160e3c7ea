"""A backup of a project's files, and what restore does with it. tests/test_backup_drill.py has whole nights."""

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nightloom.backup import BackupError, Repository
from nightloom.contracts import RECOMMENDATIONS
from nightloom.errors import ConcurrentRunError
from nightloom.event_journal import Event, Journal, journal_file
from nightloom.settings import CONFIG_VARIABLE
from serving import backup as backups
from serving.access.keys import Scope, add_key, make_key, read_keys
from serving.backup_commands import backup, restore
from tests.minio import minio
from tests.serving.conftest import USERS, D, Project
from tests.serving.event_senders import config_text, landed

NEXT = D + timedelta(days=1)


@pytest.fixture
def served(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with one published night, a database of MLflow's shape, and a landing file that nobody has read."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(project.root / "nightloom.toml"))
    project.plant_all()
    project.judge()
    project.publish()
    plant_mlflow(project)
    landing = project.root / "landing"
    landing.mkdir(exist_ok=True)
    (landing / "today.jsonl").write_text("{}\n", encoding="utf8")
    return project


def home_of(project: Project) -> Path:
    home = project.settings.place("home")
    assert isinstance(home, Path)
    return home


def plant_mlflow(project: Project) -> None:
    """The columns of MLflow's database that hold addresses, with one model version."""
    location = (home_of(project) / "mlflow").as_uri()
    with closing(sqlite3.connect(home_of(project) / "mlflow.db")) as opened, opened:
        opened.executescript(
            f"""CREATE TABLE experiments (artifact_location); CREATE TABLE runs (artifact_uri);
            CREATE TABLE logged_models (artifact_location); CREATE TABLE model_versions (source, storage_location);
            INSERT INTO model_versions VALUES ('models:/m-1', '{location}/models/m-1/artifacts')"""
        )
    (home_of(project) / "mlflow" / "models").mkdir(parents=True)
    (home_of(project) / "mlflow" / "models" / "weights").write_bytes(bytes(1000))


def invoke(command: object, *words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)  # type: ignore[arg-type]


def next_night(project: Project) -> tuple[list[str], list[str]]:
    """The next night -> rows of gold.recommendations, and what is served to each user."""
    project.plant_lists(NEXT, {"u1": ["9", "8", "7", "6"]})
    project.plant_similar(NEXT)
    project.judge(NEXT)
    project.publish(NEXT)
    names = [name for name in RECOMMENDATIONS.column_names if name != "generated_at"]
    rows = project.night().lake.rows(RECOMMENDATIONS, columns=names).to_pylist()
    client = project.client()
    served = [client.get(f"/v1/users/{user}/recommendations").json()["items"] for user in USERS]
    return sorted(map(str, rows)), list(map(str, served))


def test_a_destroyed_project_is_restored_and_its_next_night_equals_an_undisturbed_one(
    served: Project, tmp_path: Path
) -> None:
    assert invoke(backup, tmp_path / "safe").exit_code == 0
    undisturbed = next_night(served)
    shutil.rmtree(home_of(served))
    shutil.rmtree(served.root / "landing")
    (served.root / "nightloom.toml").unlink()
    done = invoke(restore, tmp_path / "safe")
    assert done.exit_code == 0
    assert (served.root / "landing" / "today.jsonl").read_text() == "{}\n"
    assert next_night(served) == undisturbed


def test_a_second_backup_copies_only_what_is_new_and_old_ones_can_be_deleted(served: Project, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "safe")
    first = backups.take(served.settings, repository)
    again = backups.take(served.settings, repository)
    next_night(served)
    second = backups.take(served.settings, repository)
    assert again.copied == 0
    assert 0 < second.copied < first.copied
    assert "deleted 3 older backups" in invoke(backup, tmp_path / "safe", "--keep", "1").output
    assert len(repository.names()) == 1
    (home_of(served) / "mlflow" / "models" / "weights").unlink()
    assert "deleted 1 older backups and 1 contents" in invoke(backup, tmp_path / "safe", "--keep", "1").output
    assert invoke(restore, tmp_path / "safe", "--check").exit_code == 0


def test_nothing_that_is_there_is_replaced_unless_asked_and_then_it_has_another_name(
    served: Project, tmp_path: Path
) -> None:
    invoke(backup, tmp_path / "safe")
    next_night(served)
    with pytest.raises(BackupError, match=r"found .*lake.*--replace"):
        invoke(restore, tmp_path / "safe")
    assert served.night().lake.rows(RECOMMENDATIONS, f"night = DATE '{NEXT}'").num_rows == len(USERS)
    done = invoke(restore, tmp_path / "safe", "--replace")
    assert done.exit_code == 0
    assert served.night().lake.rows(RECOMMENDATIONS, f"night = DATE '{NEXT}'").num_rows == 0
    [before] = home_of(served).glob("lake.replaced-*")
    assert (before / "gold" / "recommendations" / "_delta_log").is_dir()


@pytest.mark.parametrize("damage", ["one byte", "shorter", "missing", "list"])
def test_a_damaged_backup_is_one_clear_error_and_restores_nothing(damage: str, served: Project, tmp_path: Path) -> None:
    name = backups.take(served.settings, Repository(tmp_path / "safe")).name
    files = sorted((tmp_path / "safe" / "objects").rglob("*"), key=lambda file: file.stat().st_size)
    victim = tmp_path / "safe" / "backups" / f"{name}.json.gz" if damage == "list" else files[-1]
    content = victim.read_bytes()
    if damage == "missing":
        victim.unlink()
    else:
        changed = bytes([content[0] ^ 1])
        victim.write_bytes(changed + content[1:] if damage != "shorter" else content[:-1])
    shutil.rmtree(home_of(served))
    with pytest.raises(BackupError, match="is damaged"):
        invoke(restore, tmp_path / "safe")
    with pytest.raises(BackupError, match="is damaged"):
        invoke(restore, tmp_path / "safe", "--check")
    left = {file.name for file in home_of(served).glob("*") if not file.name.endswith(".restoring")}
    assert left <= {"airflow"}  # with the lock of the command alone


def test_a_killed_backup_leaves_none(served: Project, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "safe")
    backups.take(served.settings, repository)
    shutil.rmtree(tmp_path / "safe" / "backups")
    with pytest.raises(BackupError, match="found no complete backup"):
        invoke(restore, tmp_path / "safe")


def test_a_project_that_changes_all_the_time_has_no_backup(
    served: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = backups._store_files

    def copy_while_written(*rest: object) -> object:
        found = copy(*rest)  # type: ignore[arg-type]
        served.night().lake.append(RECOMMENDATIONS, [])
        return found

    monkeypatch.setattr(backups, "_store_files", copy_while_written)
    with pytest.raises(ConcurrentRunError, match="a night runs"):
        backups.take(served.settings, Repository(tmp_path / "safe"))
    assert Repository(tmp_path / "safe").names() == []


def test_in_another_folder_mlflow_finds_its_models(
    served: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(backup, tmp_path / "safe")
    other = tmp_path / "other machine"
    other.mkdir()
    monkeypatch.setenv(CONFIG_VARIABLE, str(other / "nightloom.toml"))
    assert invoke(restore, tmp_path / "safe").exit_code == 0
    with closing(sqlite3.connect(other / "data" / "mlflow.db")) as opened:
        [row] = opened.execute("SELECT source, storage_location FROM model_versions").fetchall()
    assert row == ("models:/m-1", f"{(other / 'data' / 'mlflow').as_uri()}/models/m-1/artifacts")


def test_a_file_has_the_time_that_delta_finds_versions_by(served: Project, tmp_path: Path) -> None:
    invoke(backup, tmp_path / "safe")
    log = home_of(served) / "lake" / "gold" / "recommendations" / "_delta_log" / f"{0:020}.json"
    before = log.stat().st_mtime
    shutil.rmtree(home_of(served))
    invoke(restore, tmp_path / "safe")
    assert log.stat().st_mtime == pytest.approx(before, abs=1e-3)


def test_a_landing_file_that_bronze_has_is_not_copied(served: Project, tmp_path: Path) -> None:
    taken = backups.take(served.settings, Repository(tmp_path / "safe"))
    assert [file.name for file in taken.backup.files if file.part == "landing"] == ["landing/today.jsonl"]


def test_a_backup_has_the_keys_and_the_events_that_the_api_took(served: Project, tmp_path: Path) -> None:
    (served.root / "nightloom.toml").write_text(config_text(), encoding="utf8")
    (served.root / "landing" / "today.jsonl").unlink()
    with closing(Journal(journal_file(served.settings))) as journal:
        journal.add([Event("ratings", "e1", '{"id": "e1"}')])
    add_key(served.settings.place("access"), make_key("shop", [Scope.READ], 1, 1).key)
    invoke(backup, tmp_path / "safe")
    shutil.rmtree(home_of(served))
    shutil.rmtree(served.root / "landing")
    invoke(restore, tmp_path / "safe")
    assert landed(served.root / "landing")["e1"] == 1
    assert [key.name for key in read_keys(served.settings.place("access")).keys] == ["shop"]


@pytest.mark.slow
@pytest.mark.xdist_group("minio")
def test_backups_may_be_in_object_storage(served: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with minio(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        place = f"{server.make_bucket('safe')}/shop"
        assert invoke(backup, place).exit_code == 0
        assert "deleted 1 older backups" in invoke(backup, place, "--keep", "1").output
        shutil.rmtree(home_of(served))
        assert invoke(restore, place, "--check").exit_code == 0
        assert invoke(restore, place).exit_code == 0
        assert next_night(served)[1]
