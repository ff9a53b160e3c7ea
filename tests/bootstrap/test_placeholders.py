"""A library that names some of NVIDIA's loads with placeholders in their place; a call says what is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.placeholders import owner_by_prefix, read_wanted, write
from bootstrap.shell import Shell

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="needs a compiler: the set-up had Horovod in its cache")

USER = """
extern "C" { void cublasVersioned(); void ncclPlain(); void use() { cublasVersioned(); } void other() { ncclPlain(); } }
"""
VERSIONED = 'extern "C" void cublasVersioned() {}'
PLAIN = 'extern "C" void ncclPlain() {}'


def compile_library(folder: Path, name: str, code: str, *options: str) -> Path:
    """A shared library of this name."""
    source = folder / "source.cpp"
    source.write_text(code)
    command = ["g++", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", name, "source.cpp", *options]
    subprocess.run(command, cwd=folder, check=True)
    return folder / name


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library that was linked with two of NVIDIA's, which are gone."""
    (tmp_path / "map").write_text("libcublas.so.13 { global: cublasVersioned; };\n")
    real = [
        compile_library(tmp_path, "libcublas.so.13", VERSIONED, "-Wl,--version-script=map"),
        compile_library(tmp_path, "libnccl.so.2", PLAIN),
    ]
    made = compile_library(tmp_path, "libuser.so", USER, "-Wl,-rpath,$ORIGIN", "libcublas.so.13", "libnccl.so.2")
    for each in real:
        each.unlink()
    return made


def load(library: Path, call: str = "") -> subprocess.CompletedProcess[str]:
    """Load it in a process of its own, as Python loads torch: with all symbols at once."""
    code = f"import ctypes, os; library = ctypes.CDLL({str(library)!r}, mode=os.RTLD_NOW)"
    code += f"; library.{call}()" if call else ""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_library_loads_with_placeholders_and_a_call_says_what_is_missing(library: Path, tmp_path: Path) -> None:
    assert "libcublas.so.13: cannot open shared object file" in load(library).stderr
    wanted = read_wanted([library])
    for name, symbols in wanted.symbols.items():
        if name.startswith(("libcublas", "libnccl")):
            write(Shell("placeholders", tmp_path / "log"), tmp_path, name, symbols)
    assert load(library).returncode == 0
    called = load(library, "use")
    assert called.returncode < 0
    assert "cublasVersioned: this environment has no libcublas.so.13; build it with ACCELERATOR=cuda" in called.stderr
    assert "ncclPlain: this environment has no libnccl.so.2" in load(library, "other").stderr


def test_a_symbol_belongs_to_the_library_with_the_longest_name_that_it_begins_with() -> None:
    libraries = {"libcusparse.so.12", "libcusparseLt.so.0", "libc.so.6"}
    assert owner_by_prefix("cusparseLtInit", libraries) == "libcusparseLt.so.0"
    assert owner_by_prefix("cusparseCreate", libraries) == "libcusparse.so.12"
    assert owner_by_prefix("memcpy", libraries) is None
