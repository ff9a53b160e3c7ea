"""Horovod's source from PyPI, as the lock has it -> a wheel in the cache, built once, and installed.

It asks for C++14, torch's headers need C++20: two lines of its CMake files are changed. Horovod has had no release
since 2023; whatever its build needs stands in this file.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

from bootstrap.lock import lines_of, version_of
from bootstrap.packages import uv_pip
from bootstrap.shell import CACHE, PYTHON, VENV, SetupError, Shell, keep, scratch


def wheels() -> Path:
    """Cache folder of the wheel for this Python, torch, machine and kind of accelerator."""
    versions = "-".join(name + version_of(name) for name in ("horovod", "torch"))
    accelerator = "-nccl" if shutil.which("nvcc") else ""
    return CACHE / "wheels" / f"{versions}-cp3{sys.version_info.minor}-{platform.machine()}{accelerator}"


def install(sh: Shell) -> None:
    """Ends with a start of one rank: the wheel fits the torch beside it."""
    if not wheels().is_dir():
        with scratch() as folder:
            keep(build(sh, folder), wheels())
    uv_pip(sh, "install", "--no-deps", "--reinstall", *wheels().glob("*.whl"))
    sh(PYTHON, "-c", "import horovod.torch as hvd; hvd.init(); print('ranks:', hvd.size())")


def build(sh: Shell, folder: Path) -> Path:
    """Folder with the wheel. The build tools are the environment's, as locked."""
    pip, plain = (PYTHON, "-m", "pip"), ("--no-deps", "--no-build-isolation")
    source = folder / "horovod.txt"
    source.write_text(lines_of("horovod"))
    sh(*pip, "download", *plain, "--require-hashes", "--no-binary=:all:", "--dest", folder, "--requirement", source)
    sh("tar", "-xzf", *folder.glob("horovod-*.tar.gz"), "-C", folder)
    tree = folder / f"horovod-{version_of('horovod')}"
    for file in (tree / "CMakeLists.txt", tree / "horovod/torch/CMakeLists.txt"):
        replace(file, "set(CMAKE_CXX_STANDARD 14)", "set(CMAKE_CXX_STANDARD 20)")
    sh(*pip, "wheel", "--verbose", *plain, "--wheel-dir", folder / "wheel", tree, extra=options())
    return folder / "wheel"


def options() -> dict[str, str]:
    """For PyTorch only, over Gloo; where there is a CUDA compiler also over NCCL (that way is not tested)."""
    on = ("WITH_PYTORCH", "WITHOUT_TENSORFLOW", "WITHOUT_MXNET", "WITH_GLOO", "WITHOUT_MPI")
    options = {f"HOROVOD_{name}": "1" for name in on} | {"MAKEFLAGS": f"-j{os.cpu_count()}"}
    if shutil.which("nvcc"):
        nccl = VENV / f"lib/python3.{sys.version_info.minor}/site-packages/nvidia/nccl"
        options |= {"HOROVOD_GPU_OPERATIONS": "NCCL", "HOROVOD_NCCL_HOME": str(nccl)}
    return options


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if old not in text:
        raise SetupError(f"{file} has no `{old}`: this Horovod needs another patch than bootstrap/horovod_wheel.py's")
    file.write_text(text.replace(old, new))
