"""Small stand-ins for NVIDIA's libraries, so that torch starts without them on machines that have no GPU.

PyPI has torch for CUDA alone. Its shared libraries name some of NVIDIA's, 3 GB in all, and the loader refuses to start
without a file of each name that has each symbol. No symbol is called where no GPU is. A placeholder has the names, and
a call of any ends the process with a line that says what is missing.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.shell import CHECKOUT, PYTHON, SetupError, Shell, say

PLACEHOLDERS = CHECKOUT / "placeholders"
"""Folder from which images take them."""
NVIDIA = re.compile(r"lib(cublas|cublasLt|cudnn|cufft|cusparse|cusparseLt|nccl|nvrtc|nvshmem_host)\.so\.\d+")
"""Libraries that get a placeholder where they are missing. libcuda.so is the driver's: its absence tells torch that
there is no GPU."""
ON_DEMAND = {"libtorch_cuda_linalg.so"}
"""Libraries of torch that are loaded on a GPU only."""
CODE = """#include <stdio.h>
#include <stdlib.h>
#define MISSING(name) void name(void) { fputs(#name MESSAGE, stderr); abort(); }
#define MESSAGE ": this environment has no LIBRARY; build it with ACCELERATOR=cuda\\n"
"""


@dataclass
class Wanted:
    """What shared libraries want of others."""

    libraries: set[str] = field(default_factory=set)
    """File names."""
    symbols: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """File name -> version, maybe empty -> symbols."""


def install(sh: Shell) -> None:
    """Write a placeholder of each missing library into PLACEHOLDERS and torch's folder; then torch must start."""
    (torch,) = PYTHON.parents[1].glob("lib/python3*/site-packages/torch/lib")
    PLACEHOLDERS.mkdir()
    wanted = read_wanted([file for file in torch.glob("*.so*") if file.name not in ON_DEMAND])
    there = {file.name for file in torch.parents[1].glob("nvidia/*/lib/*.so*")}
    missing = sorted(name for name in wanted.libraries - there if NVIDIA.fullmatch(name))
    if not missing:
        raise SetupError(f"{torch} lacks no library of NVIDIA's: docker/packages/cpu.txt is out of date")
    for name in missing:
        write(sh, PLACEHOLDERS, name, wanted.symbols.get(name, {}))
        shutil.copy(PLACEHOLDERS / name, torch)
    sh(PYTHON, "-c", "import torch; assert not torch.cuda.is_available()")
    say(f"  torch     starts without {', '.join(missing)}")


def keep_nvidias_libraries(_: Shell) -> None:
    """No placeholder, for an image with all of NVIDIA's libraries."""
    PLACEHOLDERS.mkdir()


def read_wanted(files: Iterable[Path]) -> Wanted:
    """The libraries and symbols that ELF files want of others."""
    wanted, unversioned, defined = Wanted(), set[str](), set[str]()
    for file in files:
        wanted.libraries |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "--dynamic", "--wide", file)))
        owners = read_version_owners(file)
        for symbol in re.findall(r"^ +U (\S+)$", output("nm", "--dynamic", "--undefined-only", file), re.MULTILINE):
            name, _, version = symbol.replace("@@", "@").partition("@")
            if not version:
                unversioned.add(name)
            elif version in owners:
                wanted.symbols.setdefault(owners[version], {}).setdefault(version, set()).add(name)
        defined |= set(re.findall(r" [A-Za-z] ([^@\s]+)", output("nm", "--dynamic", "--defined-only", file)))
    for name in unversioned - defined:
        if owner := owner_by_prefix(name, wanted.libraries):
            wanted.symbols.setdefault(owner, {}).setdefault("", set()).add(name)
    return wanted


def read_version_owners(file: Path) -> dict[str, str]:
    """Version of symbols -> file name of the library that must have it."""
    owners, library = dict[str, str](), ""
    for line in output("readelf", "--version-info", "--wide", file).splitlines():
        if found := re.search(r"File: (\S+)", line):
            library = found[1]
        elif library and (found := re.search(r"Name: (\S+)", line)):
            owners[found[1]] = library
    return owners


def owner_by_prefix(symbol: str, libraries: Iterable[str]) -> str | None:
    """The library whose symbols begin like this one: cusparseLtInit is libcusparseLt's, and not libcusparse's."""
    stems = {name.removeprefix("lib").split(".")[0].split("_")[0]: name for name in libraries if NVIDIA.fullmatch(name)}
    fitting = [stem for stem in stems if symbol.startswith(stem)]
    return stems[max(fitting, key=len)] if fitting else None


def write(sh: Shell, target: Path, name: str, symbols: dict[str, set[str]]) -> None:
    """Compile a shared library `name` with these symbols, version -> names."""
    code, versions = target / f"{name}.c", target / f"{name}.map"
    every = sorted({each for names in symbols.values() for each in names})
    code.write_text(CODE.replace("LIBRARY", name) + "".join(f"MISSING({each})\n" for each in every))
    groups = {version: names for version, names in symbols.items() if version}
    lines = [f"{version} {{ global: {'; '.join(sorted(names))}; }};" for version, names in groups.items()]
    versions.write_text("\n".join(lines) + "\n")
    script = [f"-Wl,--version-script={versions}"] if groups else []
    sh("g++", "-x", "c", "-w", "-shared", "-fPIC", "-s", f"-Wl,-soname,{name}", *script, "-o", target / name, code)
    code.unlink()
    versions.unlink()


def output(*command: str | Path) -> str:
    """What a command prints. Raises SetupError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
