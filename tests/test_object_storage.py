"""Places on a real S3 server: what is said of a wrong one, locks, listings and Data Docs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from nightloom.errors import ExitCode
from nightloom.places import Place, files_below, lock, place_at, remove_tree, write_text
from spark_jobs import landing
from tests.first_night import MAIN, SMALL
from tests.minio import minio
from tests.spark_jobs.small_project import source

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("minio")]
COMMANDS = {
    "a command": ("-c", MAIN, "status"),
    "a stage": ("-m", "spark_jobs.silver_items", "--date", "2024-02-04"),
}
CREATE = "create it, or mend the address"
REFUSED = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that their owner may read and write there"
WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "bucket": ("s3://shpo", {}, "s3://shpo/lake: there is no bucket shpo at {endpoint}; " + CREATE),
    "key": ("s3://shop", {"AWS_ACCESS_KEY_ID": "nobody"},
            "s3://shop/lake: access is refused at {endpoint} (InvalidAccessKeyId); " + REFUSED),
    "secret": ("s3://shop", {"AWS_SECRET_ACCESS_KEY": "wrong"},
               "s3://shop/lake: access is refused at {endpoint} (SignatureDoesNotMatch); " + REFUSED),
    "endpoint": ("s3://shop", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
                 "s3://shop/lake: http://127.0.0.1:1 does not answer; check AWS_ENDPOINT_URL"),
}  # fmt: skip
"""What is wrong -> the bucket, the variables, and what is said."""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket that this process and its children can reach."""
    with minio(tmp_path_factory.mktemp("server")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server.make_bucket("shop")


@pytest.fixture
def place(bucket: str, request: pytest.FixtureRequest) -> Place:
    return place_at(f"{bucket}/{request.node.name}")


def run(command: tuple[str, ...], project: Path, lake: str, variables: Mapping[str, str]) -> tuple[int, str]:
    """A command in a project whose lake is at an address -> its exit code and what it says."""
    (project / "nightloom.toml").write_text(f'{SMALL}\n[places]\nlake = "{lake}"\n', encoding="utf8")
    own = os.environ | {"NIGHTLOOM_CONFIG": str(project / "nightloom.toml"), **variables}
    done = subprocess.run(
        [sys.executable, *command], env=own, cwd=project, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_place_is_one_line_and_exit_code_2(what: str, command: str, bucket: str, tmp_path: Path) -> None:
    at, variables, message = WRONG[what]
    code, words = run(COMMANDS[command], tmp_path, f"{at}/lake", variables)
    assert code == ExitCode.WRONG
    expected = message.format(endpoint=os.environ["AWS_ENDPOINT_URL"])
    line = len(SMALL.splitlines()) + 3
    name = "nightloom" if command == "a command" else "spark_jobs.silver_items"
    assert words == f"{name}: nightloom.toml, line {line}: places.lake: {expected}\n"


def test_without_credentials_the_variables_are_named(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, words = run(COMMANDS["a command"], tmp_path, "s3://shop/lake", {})
    assert (code, words.count("\n")) == (ExitCode.WRONG, 1)
    assert "found no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role" in words


def test_a_lock_has_one_holder(place: Place) -> None:
    with lock.exclusive_lock(place), pytest.raises(lock.HeldError, match=f"process {os.getpid()} on"):  # noqa: SIM117
        with lock.exclusive_lock(place):
            pass
    begun = time.monotonic()
    with lock.exclusive_lock(place):
        assert time.monotonic() - begun < lock.LEASE_SECONDS / 5


HOLD = "import sys, time; from nightloom.places import *; from nightloom.places.lock import exclusive_lock\n" + (
    "with exclusive_lock(place_at(sys.argv[1])): print('held', flush=True); time.sleep(600)"
)


def test_the_lock_of_a_killed_holder_is_taken_over(place: Place) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    begun = time.monotonic()
    with lock.exclusive_lock(place):
        assert time.monotonic() - begun < lock.LEASE_SECONDS + 5


def test_a_holder_that_was_stopped_learns_that_it_lost_the_lock(place: Place) -> None:
    code = HOLD.replace("sleep(600)", "sleep(25)")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        with lock.exclusive_lock(place):
            os.kill(holder.pid, signal.SIGCONT)
            _, words = holder.communicate(timeout=60)
    assert "LostError" in words


def test_landing_objects_are_listed_once_and_again_when_they_have_changed(place: Place, tmp_path: Path) -> None:
    of, listing = source(path=str(place / "in"), settle_seconds=0), place / "listing"
    for name in ("a.jsonl", "deep/b c#1.jsonl", ".hidden", "_temporary/c", "d.tmp", "empty"):
        write_text(place / "in" / name, "" if name == "empty" else "{}\n")
    names = [f"{place}/in/a.jsonl", f"{place}/in/deep/b c#1.jsonl"]
    assert landing.update_listing(of, tmp_path, listing) == []
    assert [row["file"] for row in landing.listed_files(listing)] == names
    landing.update_listing(of, tmp_path, listing)
    assert len(landing.listed_files(listing)) == 2
    write_text(place / "in" / "a.jsonl", "{}\n{}\n")
    landing.update_listing(of, tmp_path, listing)
    assert [row["file"] for row in landing.listed_files(listing) if row["again"]] == names[:1]
    assert landing.find_file(tmp_path, names[1]).read_text() == "{}\n"


def test_a_tree_is_removed_whole_and_its_siblings_stay(place: Place) -> None:
    for name in ("a/1", "a/b/2", "ab/3"):
        write_text(place / name, name)
    remove_tree(place / "a")
    assert [file.name for file in files_below(place)] == ["ab/3"]
