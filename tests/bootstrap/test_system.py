"""System packages: if they cannot be installed, the set-up names the missing ones and the command to install them."""

from pathlib import Path

import pytest

from bootstrap import system
from bootstrap.shell import SetupError, Shell


def test_the_installed_java_is_supported_by_spark() -> None:
    assert system.java_version() >= system.JAVA


def test_a_java_home_without_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert system.java_version() == 0
    assert system.key() == "missing"
    with pytest.raises(SetupError, match=f"JAVA_HOME is {tmp_path}: no Java 17 or later"):
        system.install(Shell("system", tmp_path))


def test_without_apt_the_missing_packages_and_the_command_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"missing: g\+\+, make; as root, `apt-get install .* g\+\+ make` gets them"):
        system.install_debian(Shell("system", tmp_path), ["g++", "make"])


def test_missing_servers_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {"redis-server", "lmdb-utils"} <= set(system.missing_servers())
    for program in system.SERVERS.values():
        (tmp_path / program).touch(0o755)
    assert system.missing_servers() == []


def test_prometheus_is_missing_until_both_programs_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system, "VENV", tmp_path)
    (tmp_path / "prometheus").touch(0o755)
    assert system.missing_prometheus()
    assert system.servers_key() == "missing"
    (tmp_path / "promtool").touch(0o755)
    assert not system.missing_prometheus()
