"""requirements.lock -> .venv: Python's packages exactly as locked, bytecode compiled; then Nightloom, editable."""

import shutil
import sys
from pathlib import Path

from bootstrap.lock import LOCK, PEERS_LOCK, lines_of
from bootstrap.shell import CHECKOUT, NOTES, PYTHON, VENV, Shell

PEERS = VENV / "peers"


def venv_key() -> str:
    """Without the patch version: the system's updates of Python reach the environment by themselves."""
    return f"{interpreter()} {sys.version_info[:2]} {VENV}"


def interpreter() -> Path:
    """The Python that an activated environment, or this one, was made from."""
    return Path(sys.executable).resolve()


def make_venv(sh: Shell) -> None:
    """An empty virtual environment with pip, and uv in the locked version."""
    for path in VENV.iterdir():
        if path != NOTES:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    sh(interpreter(), "-m", "venv", VENV)
    uv = NOTES / "uv.txt"
    uv.write_text(lines_of("uv"))
    sh(PYTHON, "-m", "pip", "install", "--require-hashes", "--no-deps", "--requirement", uv)


def sync(sh: Shell) -> None:
    """All but Horovod: its source does not build as it is, and has a step of its own."""
    requirements = NOTES / "requirements.txt"
    requirements.write_text(LOCK.read_text().replace(lines_of("horovod"), ""))
    uv_pip(sh, "sync", "--require-hashes", "--compile-bytecode", requirements)


def install_nightloom(sh: Shell) -> None:
    uv_pip(sh, "install", "--no-deps", "--no-build-isolation", "--editable", CHECKOUT)


def peers_key() -> str:
    """A new environment is without the folder."""
    return PEERS_LOCK.read_text() if PEERS.is_dir() else "missing"


def install_peers(sh: Shell) -> None:
    """What benchmarks compare with, in a folder that only they look into."""
    shutil.rmtree(PEERS, ignore_errors=True)
    arguments = ("--require-hashes", "--no-deps", "--compile-bytecode", "--target", PEERS)
    uv_pip(sh, "install", *arguments, "--requirement", PEERS_LOCK)


def uv_pip(sh: Shell, command: str, *arguments: str | Path) -> None:
    sh(VENV / "bin/uv", "pip", command, "--python", PYTHON, *arguments)
