"""Places: folders and addresses, what nightloom.toml may say of them, and what is said of those that cannot be reached.

tests/test_object_storage.py has what needs a server.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nightloom import places
from nightloom.errors import SettingsError
from nightloom.places import lock
from spark_jobs.object_storage import s3_settings
from tests.nightloom.conftest import Change

S3 = "s3://shop/home"
MISTAKES = [
    (
        'lake = "s4://shop/lake"',
        r"line 23: places\.lake: found 's4://', expected a folder, or an address that begins with s3:// or gs:// or",
    ),
    ('lake = "s3a://shop/lake"', r"places\.lake: found 's3a://', expected .*Did you mean 's3://'\?"),
    ('docs = "s3:///docs"', r"places\.docs: found 's3:///docs', expected s3://BUCKET/FOLDER"),
    ('docs = "s3://shop/docs?x=1"', r"places\.docs: found .*, expected s3://BUCKET/FOLDER"),
    ('docs = "abfss://account/docs"', r"expected abfss://CONTAINER@ACCOUNT\.dfs\.core\.windows\.net/FOLDER"),
    ('lake = "s3://KEY:SECRET@shop/lake"', r"line 23: places\.lake: the address holds a secret; the environment gives"),
    (
        f'home = "{S3}"\nmlflow = "sqlite:///m.db"',
        r"line 23: places\.home: is an address, so places\.scratch has to name",
    ),
    (
        f'home = "{S3}"\nscratch = "s"',
        r"line 23: places\.home: is an address, where no database can be; places\.mlflow",
    ),
    (
        'store = "s3://shop/store"',
        r"line 23: places\.store: store\.kind is 'lmdb', .*; found s3://; .*store\.kind = 'files'",
    ),
    (
        'scratch = "s3://shop/s"',
        r"line 23: places\.scratch: found 's3://', expected a folder on this machine's own disks",
    ),
    (
        'airflow = "gs://shop/a"',
        r"line 23: places\.airflow: found 'gs://', expected a folder on this machine's own disks",
    ),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_a_mistake_is_reported_with_its_line(line: str, message: str, change: Change) -> None:
    with pytest.raises(SettingsError, match=message):
        change("", f"[places]\n{line}\n")


def test_a_landing_place_is_checked_like_the_others(change: Change) -> None:
    with pytest.raises(SettingsError, match=r"sources\.0\.path: found 'ftp://', expected a folder, or an address"):
        change('path = "landing"', 'path = "ftp://host/landing"')


def test_an_endpoint_that_does_not_answer_is_one_line(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(SettingsError) as found:
        change("", '[places]\nlake = "s3://shop/lake"\n')
    words = "s3://shop/lake: http://127.0.0.1:1 does not answer; check AWS_ENDPOINT_URL"
    assert str(found.value) == f"nightloom.toml, line 23: places.lake: {words}"


def test_an_endpoint_that_is_no_address_is_one_line(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    with pytest.raises(
        SettingsError, match=r"variable AWS_ENDPOINT_URL: found 'minio:9000', expected http://HOST:PORT"
    ):
        change("", '[places]\nlake = "s3://shop/lake"\n')


def test_a_path_is_a_path_and_an_address_is_none(tmp_path: Path) -> None:
    assert places.place_at("pond", tmp_path) == tmp_path / "pond"
    assert places.place_at("/pond", tmp_path) == Path("/pond")
    address = places.place_at("s3://shop/a/", tmp_path)
    assert [str(address), str(address / "b c")] == ["s3://shop/a", "s3://shop/a/b c"]
    assert not isinstance(address, Path)
    with pytest.raises(SettingsError, match="s3://shop/a is in object storage; expected a folder"):
        places.folder_of(address)


def test_a_project_in_folders_does_not_wait_for_the_libraries_of_object_storage(change: Change) -> None:
    code = "import sys; from nightloom.settings import load; load().place('lake'); print('fsspec' in sys.modules)"
    own = os.environ | {"NIGHTLOOM_CONFIG": str(change("", "").file)}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_replacement_that_breaks_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "new" / "page.html"
    places.write_text(file, "before")
    with pytest.raises(TypeError), places.replacement(file) as opened:
        opened.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert file.read_text() == "before"
    places.write_text(file, "after")
    assert file.read_text() == "after"


def test_the_files_below_a_place_are_found_however_deep(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("12345")
    (tmp_path / "d").touch()
    assert sorted((file.name, file.bytes) for file in places.files_below(tmp_path)) == [("a/b/c", 5), ("d", 0)]
    assert list(places.files_below(tmp_path / "none")) == []


def test_a_folder_has_one_holder_of_its_lock(tmp_path: Path) -> None:
    with lock.exclusive_lock(tmp_path / "new"), pytest.raises(lock.HeldError), lock.exclusive_lock(tmp_path / "new"):
        pass
    with lock.exclusive_lock(tmp_path / "new"):
        pass


def test_spark_gets_the_endpoint_and_no_secret() -> None:
    variables = {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET"}
    given = s3_settings(variables)
    assert given["spark.hadoop.fs.s3a.endpoint"] == "http://minio:9000"
    assert given["spark.hadoop.fs.s3a.path.style.access"] == "true"
    assert not set(given.values()) & {"KEY", "SECRET"}
    assert s3_settings({"AWS_REGION": "eu-central-1"})["spark.hadoop.fs.s3a.endpoint.region"] == "eu-central-1"
    assert not [key for key in s3_settings({}) if "s3a.endpoint" in key]
