"""requirements.lock -> .venv: the locked Python packages, with bytecode; then Nightloom itself, editable."""

import shutil
import sys
from pathlib import Path

from bootstrap.lock import LOCK, PEERS_LOCK, lines_of
from bootstrap.shell import PYTHON, STATE, VENV, Shell

PEERS = VENV / "peers"


def venv_key() -> str:
    """Inputs of the step, without Python's patch version: patches of the system reach the environment anyway."""
    return f"{interpreter()} {sys.version_info[:2]} {VENV}"


def interpreter() -> Path:
    """The system's Python, also when this process runs in a virtual environment."""
    return Path(sys.executable).resolve()


def make_venv(sh: Shell) -> None:
    """Make an empty virtual environment with pip, and uv in the locked version."""
    for path in VENV.iterdir():
        if path != STATE:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    sh(interpreter(), "-m", "venv", VENV)
    uv = STATE / "uv.txt"
    uv.write_text(lines_of("uv"))
    sh(PYTHON, "-m", "pip", "install", "--require-hashes", "--no-deps", "--requirement", uv)


def sync(sh: Shell) -> None:
    """Install all packages but Horovod: its source needs a patch, and has its own step."""
    requirements = STATE / "requirements.txt"
    requirements.write_text(LOCK.read_text().replace(lines_of("horovod"), ""))
    uv_pip(sh, "sync", "--require-hashes", "--compile-bytecode", requirements)


def install_for_images(sh: Shell) -> None:
    """Install what parts of images are made with: torch for Horovod, pyspark for its jars, build tools."""
    requirements = STATE / "requirements.txt"
    requirements.write_text("".join(map(lines_of, ("torch", "pyspark", "setuptools", "wheel", "cmake", "ninja"))))
    uv_pip(sh, "install", "--require-hashes", "--constraints", LOCK, "--requirement", requirements)


def install_nightloom(sh: Shell) -> None:
    """Install this checkout in editable mode, without dependencies."""
    uv_pip(sh, "install", "--no-deps", "--no-build-isolation", "--editable", ".")  # uv takes no path with a `#`


def peers_key() -> str:
    """Inputs of the step: the lock, and whether the folder exists."""
    return PEERS_LOCK.read_text() if PEERS.is_dir() else "missing"


def install_peers(sh: Shell) -> None:
    """Install the libraries that benchmarks compare with, in a folder that only benchmarks import from."""
    shutil.rmtree(PEERS, ignore_errors=True)
    arguments = ("--require-hashes", "--no-deps", "--compile-bytecode", "--target", PEERS)
    uv_pip(sh, "install", *arguments, "--requirement", PEERS_LOCK)


def uv_pip(sh: Shell, command: str, *arguments: str | Path) -> None:
    """Run `uv pip COMMAND` on the environment's Python."""
    sh(VENV / "bin/uv", "pip", command, "--python", PYTHON, *arguments)
