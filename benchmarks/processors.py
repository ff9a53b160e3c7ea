"""The processor's name, and ways to make compilers and libraries use an older one's instructions (`--path`)."""

import argparse
import os
import platform
from pathlib import Path
from typing import NamedTuple

CPUINFO = Path("/proc/cpuinfo")


class Instructions(NamedTuple):
    """Instructions of a kind of processor, as numba, OpenBLAS, MKL and oneDNN name them."""

    numba_name: str
    numba_features: str
    openblas: str
    intel: str
    needs: str
    """The flag by which Linux says that a processor has them."""


_AVX512 = "+avx2,+fma,+avx512f,+avx512bw,+avx512dq,+avx512vl"
PATHS = {
    "sse": Instructions("nehalem", "", "Nehalem", "SSE4_2", "sse4_2"),
    "avx2": Instructions("haswell", "+avx2,+fma", "Haswell", "AVX2", "avx2"),
    "avx-vnni": Instructions("alderlake", "+avx2,+fma,+avxvnni", "Haswell", "AVX2", "avx_vnni"),
    "avx512": Instructions("skylake-avx512", _AVX512, "SkylakeX", "AVX512", "avx512bw"),
    "avx512-vnni": Instructions("cascadelake", f"{_AVX512},+avx512vnni", "SkylakeX", "AVX512", "avx512_vnni"),
}


def add_path_option(parser: argparse.ArgumentParser) -> None:
    """Add `--path` to a benchmark."""
    parser.add_argument("--path", choices=PATHS, help="take these instructions, not the processor's best")


def path_environment(path: str | None) -> dict[str, str]:
    """This process's variables, and those by which numba and each BLAS take the path's instructions.

    Raises SystemExit if the processor lacks them.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    if path is None:
        return inherited  # each library finds the best
    chosen = PATHS[path]
    if chosen.needs not in _cpuinfo("flags").split():
        raise SystemExit(f"--path {path} needs a processor with {chosen.needs}; found {processor()} without it")
    return inherited | {
        "NUMBA_CPU_NAME": chosen.numba_name,
        "NUMBA_CPU_FEATURES": chosen.numba_features,
        "OPENBLAS_CORETYPE": chosen.openblas,
        "MKL_ENABLE_INSTRUCTIONS": chosen.intel,
        "ONEDNN_MAX_CPU_ISA": chosen.intel.replace("SSE4_2", "SSE41").replace("AVX512", "AVX512_CORE"),
        "ATEN_CPU_CAPABILITY": {"SSE4_2": "default"}.get(chosen.intel, chosen.intel.lower()),
    }


def processor() -> str:
    """The processor's name as Linux reports it."""
    return _cpuinfo("model name") or platform.machine()


def _cpuinfo(field: str) -> str:
    lines = CPUINFO.read_text(encoding="utf8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith(field)), "")
