"""The locks: hashes of every package, no registry, and a checksum of every jar."""

import re
import sys
import tomllib
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from bootstrap.jars import (
    BROKER_JARS,
    CASSANDRA_JARS,
    JDBC_JARS,
    S3_JARS,
    SPARK_JARS,
    Jars,
    check_against_lock,
    checksums,
)
from bootstrap.lock import CLUSTER_LOCK, LOCK, PEERS_LOCK, lines_of, version_of
from bootstrap.shell import CHECKOUT, SetupError


@pytest.mark.parametrize("lock", [LOCK, CLUSTER_LOCK, PEERS_LOCK], ids=lambda lock: lock.name)
def test_the_lock_names_no_registry_and_every_package_has_a_hash(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^--", text, re.MULTILINE)
    packages = re.findall(r"^\S.*\n(?: .*\n)*", text, re.MULTILINE)
    assert all("--hash=sha256:" in lines for lines in packages)


def test_every_direct_dependency_is_locked() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    for requirement in [
        *project["project"]["dependencies"],
        *chain(*extras.values()),
        *groups["dev"],
        *groups["build"],
    ]:
        if isinstance(requirement, str):  # else a group that is included
            assert version_of(re.split(r"[\[=<>]", requirement)[0])


def test_what_only_images_have_is_locked_apart() -> None:
    names = [set(re.findall(r"^([\w-]+)==", lock.read_text(), re.MULTILINE)) for lock in (LOCK, CLUSTER_LOCK)]
    assert names[0] & names[1] == set()
    group = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["dependency-groups"]["cluster"]
    assert {requirement.split("==")[0] for requirement in group} <= names[1]


def test_the_peers_of_benchmarks_are_locked_and_not_in_the_environment() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    peers = project["dependency-groups"]["bench"]
    assert peers == re.findall(r"^(\S+==\S+) ", PEERS_LOCK.read_text(), re.MULTILINE)
    for peer in peers:
        with pytest.raises(SetupError, match="has no line"):
            lines_of(peer.split("==")[0])


def test_lines_of_a_package_are_only_its_own() -> None:
    assert re.fullmatch(r"horovod==\S+ \\\n    --hash=sha256:[0-9a-f]{64}\n", lines_of("horovod"))


def test_an_unlocked_package_is_named() -> None:
    with pytest.raises(SetupError, match="no line left-pad=="):
        lines_of("left-pad")


SLOW = pytest.param(CASSANDRA_JARS, marks=pytest.mark.slow)
"""Slow tests alone need these, so the others do not find them."""
EACH = pytest.mark.parametrize("jars", [SPARK_JARS, JDBC_JARS, BROKER_JARS, SLOW], ids=lambda jars: jars.folder)


@EACH
def test_the_environments_jars_are_the_locked_ones(jars: Jars) -> None:
    check_against_lock(Path(sys.prefix) / jars.folder, jars.lock)


@pytest.mark.parametrize("jars", [SPARK_JARS, JDBC_JARS, BROKER_JARS, S3_JARS], ids=lambda jars: jars.folder)
def test_the_lock_of_the_jars_has_the_required_versions(jars: Jars) -> None:
    for package in jars.coordinates():
        group, name, version = package.split(":")
        assert f"  {group}_{name}-{version}.jar\n" in jars.lock.read_text()


def test_the_client_of_s3_is_of_the_version_of_sparks_hadoop() -> None:
    (api,) = Path(sys.prefix).glob("lib/python3*/site-packages/pyspark/jars/hadoop-client-api-*.jar")
    (package,) = S3_JARS.coordinates()
    assert api.stem == f"hadoop-client-api-{package.rpartition(':')[2]}"


def test_a_missing_folder_of_jars_changes_the_key_of_the_step() -> None:
    assert replace(SPARK_JARS, folder="not-there").key() != SPARK_JARS.key()


def test_a_changed_jar_and_a_missing_jar_are_named(tmp_path: Path) -> None:
    for name in ("a.jar", "b.jar", "c.jar"):
        (tmp_path / name).write_text(name)
    lock = tmp_path.with_suffix(".lock")
    lock.write_text(checksums(tmp_path))
    (tmp_path / "a.jar").write_text("other")
    (tmp_path / "b.jar").unlink()
    with pytest.raises(SetupError, match=r"differs from .*\.lock in a\.jar, b\.jar; remove it"):
        check_against_lock(tmp_path, lock)
