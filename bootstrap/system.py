"""Packages of Debian or Ubuntu: Java for Spark; a compiler and Python's headers to build Horovod.

For tests and benchmarks also servers; for a lake on S3 Java's compiler.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from bootstrap.horovod_wheel import wheel_folder
from bootstrap.shell import VENV, SetupError, Shell

JAVA = 17
"""The first version that Spark 4 runs on."""

SERVERS = {
    "redis-server": "redis-server",
    "postgresql": "initdb",
    "lmdb-utils": "mdb_load",
    "wrk": "wrk",
    # Dropbear's programs alone: Debian's openssh-server would open a port of this machine at once.
    "dropbear-bin": "dropbear",
    "openssh-client": "ssh",
    "iproute2": "ip",
}
"""Debian package -> one of its programs; for tests and benchmarks of the serving stores, and of ranks on two hosts."""
BROWSER = "chromium"
"""Debian package and program; slow tests walk through the console with it."""


APT = Lock()
"""Steps run side by side, and apt only once at a time."""
PROMETHEUS = ("prometheus", "promtool")
"""Programs of a package that is unpacked and not installed: Debian's would open a port to all machines at once."""


def key() -> str:
    """Inputs of the step: the installed java, or that something is missing."""
    java = java_command()
    if java is None or missing_tools():
        return "missing"
    return f"{java} {java.stat().st_size} {java.stat().st_mtime_ns}"


def install(sh: Shell) -> None:
    """Install missing packages. Raises SetupError if there is no suitable Java afterwards."""
    home = os.environ.get("JAVA_HOME")
    if home and java_version() < JAVA:
        raise SetupError(f"JAVA_HOME is {home}: no Java {JAVA} or later there; unset it, or point it at one")
    packages = missing_tools() + ([f"openjdk-{JAVA}-jre-headless"] if java_version() < JAVA else [])
    if packages:
        install_debian(sh, packages)
    if (version := java_version()) < JAVA:
        raise SetupError(f"{java_command()} is Java {version}, Spark needs {JAVA} or later: point JAVA_HOME at one")


def servers_key() -> str:
    """Inputs of the servers' step."""
    return "missing" if missing_servers() or missing_prometheus() else " ".join((*SERVERS, *PROMETHEUS))


def install_servers(sh: Shell) -> None:
    """Install the packages; tests start their own servers, on free ports."""
    if packages := missing_servers():
        install_debian(sh, packages)
    if missing_prometheus():
        unpack_prometheus(sh)


def browser_key() -> str:
    """Inputs of the step: the browser is there, or missing."""
    return str(shutil.which(BROWSER) or "missing")


def install_browser(sh: Shell) -> None:
    """Install the browser."""
    if not shutil.which(BROWSER):
        install_debian(sh, [BROWSER])


def compiler_key() -> str:
    """Inputs of the step: Java's compiler is there, or missing."""
    return str(shutil.which("javac") or "missing")


def install_compiler(sh: Shell) -> None:
    """Install Java's compiler."""
    if not shutil.which("javac"):
        install_debian(sh, [f"openjdk-{JAVA}-jdk-headless"])


def node_key() -> str:
    """Inputs of the step: npm is there, or missing."""
    return str(shutil.which("npm") or "missing")


def install_node(sh: Shell) -> None:
    """Install Node and npm: the TypeScript client's tests."""
    if not shutil.which("npm"):
        install_debian(sh, ["nodejs", "npm"])


def missing_servers() -> list[str]:
    """Debian packages of the missing servers. PostgreSQL's programs and /usr/sbin may not be on PATH."""
    folders = ["/usr/sbin", "/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    places = os.pathsep.join([os.environ["PATH"], *folders])
    return [package for package, program in SERVERS.items() if not shutil.which(program, path=places)]


def missing_prometheus() -> bool:
    """Whether a program of Prometheus is neither on PATH nor in .venv."""
    places = os.pathsep.join([os.environ["PATH"], str(VENV / "bin")])
    return not all(shutil.which(program, path=places) for program in PROMETHEUS)


def unpack_prometheus(sh: Shell) -> None:
    """Put Prometheus' programs into .venv/bin. Raises SetupError without apt-get, or without root rights."""
    with APT:
        sh(*root_command(["prometheus"]), "apt-get", "--quiet", "update")
    with tempfile.TemporaryDirectory() as folder:
        sh("env", "--chdir", folder, "apt-get", "download", "prometheus")
        (package,) = Path(folder).glob("*.deb")
        sh("dpkg-deb", "--extract", package, f"{folder}/files")
        for program in PROMETHEUS:
            shutil.move(f"{folder}/files/usr/bin/{program}", VENV / "bin" / program)


def install_debian(sh: Shell, packages: Sequence[str]) -> None:
    """Install packages by apt-get. Raises SetupError without apt-get, or without root rights."""
    noninteractive = [*root_command(packages), "env", "DEBIAN_FRONTEND=noninteractive"]
    with APT:
        sh(*noninteractive, "dpkg", "--configure", "-a")  # an interrupted apt leaves packages half configured
        sh(*noninteractive, "apt-get", "--quiet", "update")
        sh(*noninteractive, *install_command(packages))


def install_command(packages: Sequence[str]) -> list[str]:
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def root_command(packages: Sequence[str]) -> list[str]:
    """What stands before a command of root. Raises SetupError that names the packages and how a person gets them."""
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (root and not has_passwordless_sudo()):
        by_hand = " ".join(install_command(packages))
        raise SetupError(f"missing: {', '.join(packages)}; as root, `{by_hand}` gets them, then run again")
    return root


def missing_tools() -> list[str]:
    """Debian packages of missing tools, without Java. If Horovod's wheel is in the cache, no compiler is needed."""
    python = f"python3.{sys.version_info.minor}"
    tools: dict[str, object] = {f"{python}-venv": importlib.util.find_spec("ensurepip")}
    if not wheel_folder().is_dir():
        header = Path(sysconfig.get_path("include"), "Python.h")
        tools |= {"g++": shutil.which("g++"), "make": shutil.which("make"), f"{python}-dev": header.exists()}
    return [package for package, present in tools.items() if not present]


def java_command() -> Path | None:
    """The java that Spark will use."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    return Path(java).resolve() if java else None


def java_version() -> int:
    """Major version, 0 without Java."""
    java = java_command()
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr if java else ""
    match = re.search(r'version "(?:1\.)?(\d+)', output)
    return int(match[1]) if match else 0


def has_passwordless_sudo() -> bool:
    """Whether sudo works without a password."""
    return bool(shutil.which("sudo")) and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0
