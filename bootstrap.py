"""A bare Debian or Ubuntu -> .venv with everything that Nightloom needs: system packages, the locked Python packages,
Horovod, Delta's jars, a class archive for Spark's JVM, and Nightloom itself.

`./run` calls this each time. A step that is done left a stamp, the hash of all it depends on, and costs nothing more.
What is made once for all checkouts lies in ~/.cache/nightloom; the steps' logs and stamps lie in .venv/setup. Needs
the standard library only: it runs before there is anything else.
"""

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin/python"
NOTES = VENV / "setup"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom"
LOCK = CHECKOUT / "requirements.lock"
JARS_LOCK = CHECKOUT / "jars.lock"
ARCHIVER = CHECKOUT / "docker/setup/spark_archive.py"
RELOCK_JARS = "--lock-jars" in sys.argv[1:]


class SetupError(Exception):
    """Says what is missing or wrong, and what to do."""


# ---- The steps ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    name: str
    key: Callable[[], str]
    """Text of what the step depends on, beside the steps before it."""
    do: Callable[["Shell"], None]
    """Makes it so; harmless when cut short and repeated."""


def system_key() -> str:
    java = java_command()
    if java is None or missing_tools():
        return "missing"
    return f"{java} {java.stat().st_size} {java.stat().st_mtime_ns}"


def install_system(sh: "Shell") -> None:
    """Java 17 or later; a compiler and Python's headers unless Horovod's wheel is already in the cache."""
    packages = missing_tools() + (["openjdk-17-jre-headless"] if java_version() < 17 else [])
    if packages:
        install_debian_packages(sh, packages)
    if (version := java_version()) < 17:
        raise SetupError(f"found Java {version} at {java_command()}, Spark needs 17 or later: point JAVA_HOME at one")


def install_debian_packages(sh: "Shell", packages: Sequence[str]) -> None:
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (root and not sudo_asks_nothing()):
        raise SetupError(f"missing: {', '.join(packages)}; as root, `{' '.join(install)}` gets them, then run again")
    noninteractive = [*root, "env", "DEBIAN_FRONTEND=noninteractive"]
    sh(*root, "dpkg", "--configure", "-a")  # an apt cut short leaves packages half configured
    sh(*noninteractive, "apt-get", "--quiet", "update")
    sh(*noninteractive, *install)


def make_venv(sh: "Shell") -> None:
    """An empty virtual environment with pip, and uv in the locked version."""
    for path in VENV.iterdir():
        if path != NOTES:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    sh(Path(sys.executable).resolve(), "-m", "venv", VENV)
    uv = NOTES / "uv.txt"
    uv.write_text(locked("uv"))
    sh(PYTHON, "-m", "pip", "install", "--require-hashes", "--no-deps", "--requirement", uv)


def sync_packages(sh: "Shell") -> None:
    """Exactly what the lock says, less Horovod: its source does not build as it is, and has a step of its own."""
    requirements = NOTES / "requirements.txt"
    requirements.write_text(LOCK.read_text().replace(locked("horovod"), ""))
    uv_pip(sh, "sync", "--require-hashes", "--compile-bytecode", requirements)


def horovod_wheels() -> Path:
    """Cache folder of the wheel for this Python, torch, machine and kind of accelerator."""
    versions = "-".join(name + locked_version(name) for name in ("horovod", "torch"))
    accelerator = "-nccl" if shutil.which("nvcc") else ""
    return CACHE / "wheels" / f"{versions}-cp3{sys.version_info.minor}-{platform.machine()}{accelerator}"


def install_horovod(sh: "Shell") -> None:
    if not horovod_wheels().is_dir():
        with scratch() as folder:
            keep(build_horovod(sh, folder), horovod_wheels())
    uv_pip(sh, "install", "--no-deps", "--reinstall", *horovod_wheels().glob("*.whl"))
    sh(PYTHON, "-c", "import horovod.torch as hvd; hvd.init(); print('ranks:', hvd.size())")


def build_horovod(sh: "Shell", folder: Path) -> Path:
    """Horovod's locked source -> folder with a wheel. It asks for C++14, torch's headers need C++20."""
    source = folder / "horovod.txt"
    source.write_text(locked("horovod"))
    here = ("--no-deps", "--no-build-isolation")
    sh(PYTHON, "-m", "pip", "download", *here, "--require-hashes", "--no-binary=:all:", "--dest", folder, "-r", source)
    with tarfile.open(next(folder.glob("horovod-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    tree = folder / f"horovod-{locked_version('horovod')}"
    for file in (tree / "CMakeLists.txt", tree / "horovod/torch/CMakeLists.txt"):
        replace(file, "set(CMAKE_CXX_STANDARD 14)", "set(CMAKE_CXX_STANDARD 20)")
    sh(PYTHON, "-m", "pip", "wheel", "-v", *here, "--wheel-dir", folder / "wheel", tree, extra=horovod_options())
    return folder / "wheel"


def horovod_options() -> dict[str, str]:
    """For PyTorch only, over Gloo; where there is a CUDA compiler, over NCCL (that way is not tested)."""
    on = ["WITH_PYTORCH", "WITHOUT_TENSORFLOW", "WITHOUT_MXNET", "WITH_GLOO", "WITHOUT_MPI"]
    options = {f"HOROVOD_{name}": "1" for name in on} | {"MAKEFLAGS": f"-j{os.cpu_count()}"}
    if shutil.which("nvcc"):
        nccl = VENV / f"lib/python3.{sys.version_info.minor}/site-packages/nvidia/nccl"
        options |= {"HOROVOD_GPU_OPERATIONS": "NCCL", "HOROVOD_NCCL_HOME": str(nccl)}
    return options


def install_jars(sh: "Shell") -> None:
    """Delta's jars in .venv/delta-jars, with exactly the names and contents that jars.lock lists."""
    jars = CACHE / "jars" / hashlib.sha256(JARS_LOCK.read_bytes()).hexdigest()[:16]
    if not jars.is_dir():
        with scratch() as folder:
            resolved = resolve_jars(sh, folder)
            check_jars(resolved)
            keep(resolved, jars)
    check_jars(jars)
    shutil.rmtree(VENV / "delta-jars", ignore_errors=True)
    shutil.copytree(jars, VENV / "delta-jars")  # no link: the environment outlives a cleaned cache


# Spark brings these in versions of its own; Delta's older ones would come first on the class path and win.
SPARK_BRINGS = (
    "com.fasterxml.jackson.core:*,com.github.luben:*,com.google.code.findbugs:*,commons-logging:*,commons-pool:*,"
    "io.airlift:*,org.apache.hadoop:*,org.apache.logging.log4j:*,org.apache.parquet:*,org.locationtech.jts:*,"
    "org.roaringbitmap:*,org.slf4j:*,org.xerial.snappy:*"
)


def resolve_jars(sh: "Shell", folder: Path) -> Path:
    """Spark's own Ivy resolves Delta's package, for a job that is an empty script -> folder of jars."""
    job = folder / "nothing.py"
    job.touch()
    spark = ".".join(locked_version("pyspark").split(".")[:2])
    delta = f"io.delta:delta-spark_{spark}_2.13:{locked_version('delta-spark')}"
    conf = ("--conf", "spark.ui.enabled=false", "--conf", f"spark.jars.ivy={folder / 'ivy'}")
    sh(VENV / "bin/spark-submit", *conf, "--packages", delta, "--exclude-packages", SPARK_BRINGS, job)
    return folder / "ivy/jars"


def lock_jars(sh: "Shell") -> None:
    with scratch() as folder:
        JARS_LOCK.write_text(checksums(resolve_jars(sh, folder)))


def check_jars(folder: Path) -> None:
    found, expected = checksums(folder).splitlines(), JARS_LOCK.read_text().splitlines()
    if differing := sorted({line.split()[1] for line in set(found) ^ set(expected)}):
        raise SetupError(
            f"{folder} differs from jars.lock in {', '.join(differing)}; remove it and run this again, "
            "or if pyspark or delta-spark changed in pyproject.toml, `./run lock` writes both locks anew"
        )


def checksums(folder: Path) -> str:
    """As sha256sum prints them."""
    return "".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(folder.iterdir()))


def make_archive(sh: "Shell") -> None:
    """The classes of a Delta night, read and checked once: Spark's server starts in about half the time."""
    archive = VENV / "spark.jsa"
    archive.unlink(missing_ok=True)
    try:
        sh(PYTHON, ARCHIVER, archive)
    except SetupError as error:
        say(f"  warning: no class archive, so Spark starts slower than it could: {str(error).splitlines()[0]}")


def install_nightloom(sh: "Shell") -> None:
    uv_pip(sh, "install", "--no-deps", "--no-build-isolation", "--editable", CHECKOUT)


SYSTEM = Step("system", system_key, install_system)
"""Apart from the others: a newer Java does not make the Python packages anew."""
STEPS = (
    Step("python", lambda: f"{sys.version} {CHECKOUT}", make_venv),
    Step("packages", LOCK.read_text, sync_packages),
    Step("horovod", lambda: horovod_wheels().name, install_horovod),
    Step("jars", JARS_LOCK.read_text, install_jars),
    Step("archive", lambda: ARCHIVER.read_text() + system_key(), make_archive),
    Step("nightloom", (CHECKOUT / "pyproject.toml").read_text, install_nightloom),
)


def set_up() -> None:
    perform(SYSTEM, "", ())
    before = ""
    for number, step in enumerate(STEPS):
        if RELOCK_JARS and step.do is install_jars:
            lock_jars(Shell("lock-jars"))
        before = perform(step, before, STEPS[number + 1 :])


def perform(step: Step, before: str, later: Sequence[Step]) -> str:
    """Does the step unless its stamp says that it is done -> digest of this step and all before it."""
    if read(stamp(step)) != (digest := digest_of(before, step)):
        NOTES.mkdir(parents=True, exist_ok=True)
        for each in (step, *later):  # cut short, they will run again
            stamp(each).unlink(missing_ok=True)
        start = time.monotonic()
        step.do(Shell(step.name))
        digest = digest_of(before, step)
        stamp(step).write_text(digest)
        say(f"  {step.name:<10}{time.monotonic() - start:6.1f} s")
    return digest


def digest_of(before: str, step: Step) -> str:
    return hashlib.sha256(f"{before}\n{step.key()}".encode()).hexdigest()


def stamp(step: Step) -> Path:
    return NOTES / f"{step.name}.done"


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


# ---- What the machine has, what the lock says -----------------------------------------------------------------------


def java_command() -> Path | None:
    """The java that Spark will start."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(f"{home}/bin/java" if home else "java")
    return Path(found).resolve() if found else None


def java_version() -> int:
    """Major version; 0 where there is no Java."""
    java = java_command()
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr if java else ""
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else 0


def missing_tools() -> list[str]:
    """Debian packages of what is not there, Java aside."""
    python = f"python3.{sys.version_info.minor}"
    found: dict[str, object] = {f"{python}-venv": importlib.util.find_spec("ensurepip")}
    if not horovod_wheels().is_dir():
        header = Path(sysconfig.get_path("include"), "Python.h")
        found |= {"g++": shutil.which("g++"), "make": shutil.which("make"), f"{python}-dev": header.exists()}
    return [package for package, there in found.items() if not there]


def sudo_asks_nothing() -> bool:
    return bool(shutil.which("sudo")) and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0


def locked(name: str) -> str:
    """The lock's lines of one package, hashes included."""
    match = re.search(rf"^{re.escape(name)}==.*\n(?: .*\n)*", LOCK.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f"requirements.lock has no line {name}==...; `git checkout requirements.lock` brings it back")
    return match[0]


def locked_version(name: str) -> str:
    return locked(name).split()[0].split("==")[1]


# ---- Doing things ---------------------------------------------------------------------------------------------------


class Shell:
    """Runs the commands of one step: what they print goes to its log, how long they take to the terminal."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.log = NOTES / f"{name}.log"
        self.log.unlink(missing_ok=True)
        self.start = time.monotonic()

    def __call__(self, *command: str | Path, extra: Mapping[str, str] | None = None) -> None:
        """Raises SetupError with the log's last lines if the command fails."""
        with self.log.open("a") as log:
            print("+", *command, file=log, flush=True)
            env, nothing = environment(extra or {}), subprocess.DEVNULL
            child = subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, env=env, start_new_session=True)
            try:
                self.wait(child)
            finally:
                if child.poll() is None:  # we were interrupted
                    os.killpg(child.pid, signal.SIGTERM)
                    child.wait()
        if child.returncode:
            tail = self.log.read_text(errors="replace").splitlines()[-20:]
            told = f"{Path(command[0]).name} ended with {child.returncode}; the last lines of {self.log}:"
            raise SetupError("\n    ".join([told, *tail]))

    def wait(self, child: "subprocess.Popen[bytes]") -> None:
        every = 0.2 if sys.stderr.isatty() else 10.0
        while True:
            try:
                child.wait(timeout=every)
                return
            except subprocess.TimeoutExpired:
                say(f"  {self.name:<10}{time.monotonic() - self.start:6.0f} s {progress(self.log)}", moving=True)


def progress(log: Path) -> str:
    """A bar where the log counts per cent (a compiler's does), else the log's last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        text = file.read().decode(errors="replace")
    if counted := re.findall(r"^\s*\[ *(\d+)%\]", text, re.MULTILINE):
        done = int(counted[-1])
        return f"[{'#' * (done // 5):.<20}] {done}%"
    lines = text.split("\n")
    return lines[-2].strip()[:60] if len(lines) > 1 else ""


def say(line: str, moving: bool = False) -> None:
    """To stderr: stdout belongs to the command that follows. A moving line is overwritten by the next."""
    terminal = sys.stderr.isatty()
    print(f"\r\033[K{line}" if terminal else line, end="" if moving and terminal else "\n", file=sys.stderr, flush=True)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment's tools first; bytecode is written, whatever the machine's habit."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"PATH": path, "PYSPARK_PYTHON": str(PYTHON), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def uv_pip(sh: Shell, *arguments: str | Path) -> None:
    command, *rest = arguments
    sh(VENV / "bin/uv", "pip", command, "--python", PYTHON, *rest)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if old not in text:
        raise SetupError(f"{file}: found no `{old}`, so this Horovod needs another patch than bootstrap.py's")
    file.write_text(text.replace(old, new))


@contextmanager
def scratch() -> Iterator[Path]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=CACHE) as folder:
        yield Path(folder)


def keep(folder: Path, target: Path) -> None:
    """Moves a finished folder of the cache to its name, in one step; whoever was first wins."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir():
        folder.rename(target)


@contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time in this checkout; the lock ends with the process."""
    folder = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("  another set-up is at work in this checkout: waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)
    yield
    os.close(folder)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with alone():
            set_up()
    except SetupError as error:
        say(f"set-up: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up: interrupted; run it again and it goes on where it was")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
