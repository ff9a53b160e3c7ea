"""./run: a POSIX shell script; what it says before and beside the set-up. Each test runs the script itself."""

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
    """A PATH with the few programs that the script itself calls, and no Python."""
    for name in ("dirname", "readlink", "cat"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return tmp_path


def test_without_a_word_it_says_what_there_is_and_sets_nothing_up(tools: Path) -> None:
    result = run(path=str(tools))
    assert result.returncode == 0
    for word in ("demo", "test", "bench", "serve", "airflow", "setup", "lock"):
        assert f"./run {word}" in result.stdout


def test_without_a_python_it_says_what_it_needs_and_how_to_get_it(tools: Path) -> None:
    result = run("demo", path=str(tools))
    assert result.returncode != 0
    assert "Nightloom needs Python 3.11 or 3.12" in result.stderr
    assert "apt-get install" in result.stderr


def test_a_python_that_is_too_old_is_named(tools: Path) -> None:
    old = tools / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    result = run("demo", path=str(tools))
    assert result.returncode != 0
    assert "found Python 3.9.2" in result.stderr
