"""./run, a POSIX shell script: its messages before the set-up. Each test runs the script itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootstrap.shell import CHECKOUT


def run(*words: str, path: str | None = None, script: Path = CHECKOUT / "run") -> "subprocess.CompletedProcess[str]":
    env = os.environ | ({"PATH": path} if path else {})
    return subprocess.run(["/bin/sh", script, *words], capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with only the programs that the script calls, without Python."""
    for name in ("dirname", "readlink", "cat"):
        program = shutil.which(name)
        assert program
        (tmp_path / name).symlink_to(program)
    return tmp_path


def test_without_arguments_it_lists_its_commands_and_does_not_run_the_set_up(tools: Path) -> None:
    result = run(path=str(tools))
    assert result.returncode == 0
    for word in ("demo", "test", "bench", "serve", "airflow", "setup", "lock"):
        assert f"./run {word}" in result.stdout


def test_without_python_it_names_the_supported_versions_and_how_to_install_them(tools: Path) -> None:
    result = run("demo", path=str(tools))
    assert result.returncode != 0
    assert "Nightloom needs Python 3.11 or 3.12" in result.stderr
    assert "apt-get install" in result.stderr


def test_an_unsupported_python_is_named(tools: Path) -> None:
    old = tools / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    result = run("demo", path=str(tools))
    assert result.returncode != 0
    assert "found Python 3.9.2" in result.stderr


@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_without_a_home_that_can_be_written_caches_lie_in_the_checkout(home: str | None, tools: Path) -> None:
    checkout = tools / "shop's #1 50% näh"
    checkout.mkdir()
    script = Path(shutil.copy(CHECKOUT / "run", checkout))
    mkdir = shutil.which("mkdir")
    assert mkdir
    (tools / "mkdir").symlink_to(mkdir)
    python = tools / "python3"
    python.write_text('#!/bin/sh\n[ "$1" != -m ] || echo "$*|$PWD|$XDG_CACHE_HOME|$HOME|$NUMBA_CACHE_DIR"\n')
    python.chmod(0o755)
    env = {"PATH": str(tools)} | ({"HOME": home} if home else {})
    done = subprocess.run(["/bin/sh", script, "setup"], capture_output=True, text=True, env=env, timeout=60, check=True)
    cache = f"{checkout}/.cache"
    assert done.stdout == f"-m bootstrap|{checkout}|{cache}|{home or cache}|{cache}/nightloom/numba\n"
    assert done.stderr == ""


def test_a_folder_that_path_cannot_hold_is_refused(tools: Path) -> None:
    checkout = tools / "a:b"
    checkout.mkdir()
    result = run("setup", path=str(tools), script=Path(shutil.copy(CHECKOUT / "run", checkout)))
    assert result.returncode == 2
    assert "PATH cannot hold a folder with ':' in its name" in result.stderr
