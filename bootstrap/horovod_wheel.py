"""Horovod's source from PyPI, in the locked version -> a wheel in the cache, built once, and installed.

Horovod's CMake files ask for C++14, but torch's headers need C++20: the build changes two lines. Horovod has had no
release since 2023; this file holds all that its build needs.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap.lock import lines_of, version_of
from bootstrap.packages import uv_pip
from bootstrap.shell import CACHE, CHECKOUT, PYTHON, VENV, SetupError, Shell, move_into_cache, say, scratch_folder


def wheel_folder() -> Path:
    """Cache folder of the wheel for this version of Python and torch, this machine and this kind of accelerator."""
    versions = "-".join(name + version_of(name) for name in ("horovod", "torch"))
    accelerator = "-nccl" if shutil.which("nvcc") else ""
    return CACHE / "wheels" / f"{versions}-cp3{sys.version_info.minor}-{platform.machine()}{accelerator}"


def install(sh: Shell) -> None:
    """Install the wheel, and start one rank: this proves that the wheel fits the installed torch."""
    if not wheel_folder().is_dir():
        with scratch_folder() as folder:
            move_into_cache(build(sh, folder), wheel_folder())
    uv_pip(sh, "install", "--no-deps", "--reinstall", *wheel_folder().glob("*.whl"))
    sh(PYTHON, "-c", CHECK)
    say(f"  {summary('NCCL True' in sh.log.read_text().splitlines()[-1], count_gpus())}")


def build_for_images(sh: Shell) -> None:
    """Build the wheel into the checkout's folder `wheels`, from which images take it."""
    with scratch_folder() as folder:
        move_into_cache(build(sh, folder), CHECKOUT / "wheels")


CHECK = "import horovod.torch as hvd; hvd.init(); print('ranks', hvd.size(), 'NCCL', bool(hvd.nccl_built()))"


def summary(nccl: bool, gpus: int) -> str:
    """What was built, and what to install where that is too little."""
    if nccl:
        return "horovod   reduces on GPUs (NCCL) and on the CPU"
    if gpus < 2:
        return "horovod   reduces on the CPU"
    return (
        f"horovod   reduces on the CPU only: found {gpus} GPUs and no nvcc; a training uses one GPU, or ranks on the "
        "CPU. For a rank per GPU install a CUDA toolkit, then run ./run setup"
    )


def count_gpus() -> int:
    """Number of NVIDIA's GPUs of this machine."""
    if not shutil.which("nvidia-smi"):
        return 0
    found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return found.stdout.count("GPU ")


def build(sh: Shell, folder: Path) -> Path:
    """Build the wheel with the environment's locked build tools -> its folder."""
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
    """Environment variables of the build: PyTorch only, over Gloo; with a CUDA compiler also NCCL (not tested)."""
    flags = ("WITH_PYTORCH", "WITHOUT_TENSORFLOW", "WITHOUT_MXNET", "WITH_GLOO", "WITHOUT_MPI")
    options = {f"HOROVOD_{name}": "1" for name in flags} | {"MAKEFLAGS": f"-j{os.cpu_count()}"}
    if shutil.which("nvcc"):
        nccl = VENV / f"lib/python3.{sys.version_info.minor}/site-packages/nvidia/nccl"
        options |= {"HOROVOD_GPU_OPERATIONS": "NCCL", "HOROVOD_NCCL_HOME": str(nccl)}
    return options


def replace(file: Path, old: str, new: str) -> None:
    """Replace text in a file. Raises SetupError if the old text is missing."""
    text = file.read_text()
    if old not in text:
        raise SetupError(f"{file} has no `{old}`: this Horovod needs another patch than bootstrap/horovod_wheel.py's")
    file.write_text(text.replace(old, new))
