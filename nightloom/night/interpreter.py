"""The warm interpreter: one process that has imported what the night's stages need, and from which each is forked.

A stage imports for one to four seconds what the stage before it has imported, too. `python -m nightloom.stage STAGE`
asks for a fork instead: it has the caller's arguments, environment, folder and output, gets the caller's signals, and
ends with it. The caller runs the stage itself where no interpreter is warm, or where it has another environment or
other code. It runs on one machine beside the night's Spark server, which starts and stops it (spark_jobs/session.py).

Only the standard library is imported here: a caller has to be quick.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightloom.night import stages

STAGES = tuple(stage.name for stage in stages.NIGHT if stage.layer != "models")
"""Stages that it forks. A training imports torch, whose threads no fork survives."""
ALSO = ("mlflow.tracking", "sqlalchemy.dialects.sqlite", "matplotlib.figure")
"""Modules that stages import when they need them."""
WARM = "--warm"
"""In the place of a stage: become the warm interpreter."""
OWN_VARIABLES = ("NIGHTLOOM_", "AIRFLOW", "PYTHONUNBUFFERED", "PWD", "OLDPWD", "SHLVL", "_")
"""Beginnings of the names of variables that a stage reads when it runs, if at all: they may differ."""
IDLE_SECONDS = 3_600
SECONDS_TO_ASK, SECONDS_TO_LEAVE, SECONDS_TO_STOP = 1, 10, 15
MOST_BYTES = 1 << 20
PR_SET_PDEATHSIG = 1
"""Linux's number for: the signal that a process gets when its parent ends."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Request:
    """What a fork needs of its caller."""

    stage: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


def run(stage: str, arguments: Sequence[str]) -> int | None:
    """Run a stage in a fork of the warm interpreter -> its exit code; None where there is none that fits."""
    if stage not in STAGES:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        request = Request(stage, list(arguments), os.getcwd(), dict(os.environ))
        try:
            server.connect(str(_address()))
            socket.send_fds(server, [json.dumps(vars(request)).encode()], [0, 1, 2])
        except OSError:
            return None
        answer = _receive(server)
        if answer is None or "refused" in answer:
            why = answer["refused"] if answer else "it has ended"
            print(f"{stage}: not in the warm interpreter: {why}", file=sys.stderr)
            return None
        for number in SIGNALS:
            signal.signal(number, lambda number, _: _signal(answer["pid"], number))
        ended = _receive(server)
        return 128 + signal.SIGKILL if ended is None else int(ended["code"])


def start() -> str:
    """Start the interpreter of this environment in the background, unless it runs -> a message."""
    if not hasattr(os, "pidfd_open"):
        return "no warm interpreter: it needs Linux"
    try:
        if _answers({"stamp": _stamp()}):
            return "a warm interpreter runs already"
        stop()
        with _address(".log").open("wb") as log:
            command = [sys.executable, "-m", "nightloom.stage", WARM]
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _address(".pid").write_text(str(started.pid))
    except OSError as error:  # stages then import for themselves
        return f"no warm interpreter: {error}"
    return f"a warm interpreter starts: pid {started.pid}"


def stop() -> str:
    """Have the interpreter of this environment take no more stages, and end after those that it runs -> a message.

    The night's last stages need no Spark server, and may run while it and the interpreter are stopped.
    """
    pid = _starting()
    if not _answers({"stop": True}):
        if pid is None:
            return "no warm interpreter runs"
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_STOP
    while _address().exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return "the warm interpreter takes no more stages"


def _starting() -> int | None:
    """The interpreter that start() has started: it may import for seconds before it answers."""
    with suppress(OSError, ValueError):
        pid = int(_address(".pid").read_text())
        if WARM.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return None


def serve() -> Request | None:
    """Import everything, then fork for each request -> in a fork its request; None in the interpreter, at its end."""
    for name in (*STAGES, *ALSO):
        importlib.import_module(name)
    address, stamp = _address(), _stamp()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that it leaves no address behind
    gc.collect()
    gc.freeze()  # a collection in a fork would write to pages that all share
    unfinished = _address(f".{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(unfinished))
        listener.listen(64)
        unfinished.rename(address)  # nobody finds it before it listens
        try:
            return _Forks(listener, stamp).serve()
        finally:
            if listener.fileno() >= 0:  # a fork has closed it
                address.unlink(missing_ok=True)


class _Forks:
    """The requests that came, and the forks that run them."""

    def __init__(self, listener: socket.socket, stamp: str) -> None:
        self._listener, self._stamp = listener, stamp
        self._callers: dict[int, tuple[socket.socket, int, int]] = {}
        """A caller's descriptor -> its socket, its fork's pid, the fork's pidfd."""
        self._leaving: dict[int, float] = {}
        """Pid of a fork that has to end -> when it is killed."""
        self._stopped = False

    def serve(self) -> Request | None:
        """Until nobody asks for IDLE_SECONDS, or somebody asks to stop -> as serve()."""
        last = time.monotonic()
        while self._callers or (not self._stopped and time.monotonic() < last + IDLE_SECONDS):
            by_fork = {pidfd: (caller, pid) for caller, pid, pidfd in self._callers.values()}
            listener = [] if self._stopped else [self._listener.fileno()]
            ready, _, _ = select.select([*listener, *self._callers, *by_fork], [], [], 1)
            for each in ready:
                if each in listener:
                    last, caller = time.monotonic(), self._listener.accept()[0]
                    request = self._answer(caller)
                    if request is not None:
                        return request
                elif each in by_fork:
                    self._end(*by_fork[each])
                elif each in self._callers:
                    self._leave(each)
                    time.sleep(0.01)  # its descriptor stays readable until the fork has ended
            for pid in [pid for pid, deadline in self._leaving.items() if time.monotonic() > deadline]:
                _signal(pid, signal.SIGKILL)
        return None

    def _answer(self, caller: socket.socket) -> Request | None:
        """Answer one message of a new caller: fork, or say why not -> in the fork its request."""
        caller.settimeout(SECONDS_TO_ASK)
        try:
            message, files, _, _ = socket.recv_fds(caller, MOST_BYTES, 3)
        except OSError:
            message = b""
        if not message:  # it was killed before it asked, or is stopped: the other callers do not wait for it
            caller.close()
            return None
        found: dict[str, Any] = json.loads(message)
        if "stop" in found:
            self._stopped = True
            _address().unlink(missing_ok=True)  # another one may start
            self._listener.close()
        if "stage" not in found:
            _send(caller, {"yes": found.get("stamp") in (None, self._stamp)})
            caller.close()
            return None
        request = Request(**found)
        if why := self._why_not(request):
            _send(caller, {"refused": why})
            pid = -1
        else:
            pid = os.fork()
        if pid == 0:
            self._become(request, files)
            return request
        for file in files:
            os.close(file)
        if pid < 0:
            caller.close()
        else:
            _send(caller, {"pid": pid})
            self._callers[caller.fileno()] = caller, pid, os.pidfd_open(pid)
        return None

    def _why_not(self, request: Request) -> str | None:
        if _stamp() != self._stamp:
            return "the code has changed since it started"
        own, asked = (_shared(environment) for environment in (os.environ, request.environment))
        differing = [name for name in sorted(own.keys() | asked.keys()) if own.get(name) != asked.get(name)]
        return f"it has another {', '.join(differing)} in its environment" if differing else None

    def _become(self, request: Request, files: Sequence[int]) -> None:
        """In a fork: have what a process of its own would have."""
        self._listener.close()
        for caller, _, pidfd in self._callers.values():
            caller.close()
            os.close(pidfd)
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # the fork ends with the interpreter
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        sys.argv = [request.stage, *request.arguments]
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file

    def _end(self, caller: socket.socket, pid: int) -> None:
        """A fork has ended: say so."""
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        _send(caller, {"code": 128 - code if code < 0 else code})
        self._forget(caller, pid)

    def _leave(self, descriptor: int) -> None:
        """A fork has to end: its caller is gone."""
        _, pid, _ = self._callers[descriptor]
        if pid not in self._leaving:
            self._leaving[pid] = time.monotonic() + SECONDS_TO_LEAVE
            _signal(pid, signal.SIGTERM)

    def _forget(self, caller: socket.socket, pid: int) -> None:
        _, _, pidfd = self._callers.pop(caller.fileno())
        self._leaving.pop(pid, None)
        os.close(pidfd)
        caller.close()


def _address(suffix: str = ".socket") -> Path:
    """Where the interpreter of this environment listens: one per settings file, interpreter and checkout.

    Raises OSError where there can be none.
    """
    config = os.path.abspath(os.environ.get("NIGHTLOOM_CONFIG") or "nightloom.toml")
    name = hashlib.sha256("\0".join((config, sys.prefix, __file__)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"nightloom-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone, so no warm interpreter can be asked in it")
    return folder / f"{name}{suffix}"


def _stamp() -> str:
    """Changes with every change of our code: names, sizes and times of its files."""
    root, found = Path(__file__).parents[2], []
    for package in ("nightloom", "spark_jobs", "expectations", "models", "serving"):
        for file in (root / package).rglob("*.py"):
            status = file.stat()
            found.append((str(file), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OWN_VARIABLES)}


def _answers(question: dict[str, Any]) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.settimeout(SECONDS_TO_STOP)
        try:
            server.connect(str(_address()))
            _send(server, question)
            return bool((_receive(server) or {}).get("yes"))
        except OSError:
            return False


def _send(to: socket.socket, message: dict[str, Any]) -> None:
    """Send a message; nothing where the other side is gone, which the next read shows."""
    with suppress(OSError):
        to.send(json.dumps(message).encode())


def _receive(server: socket.socket) -> dict[str, Any] | None:
    """The next message; None where the other side is gone."""
    with suppress(ConnectionError):
        if message := server.recv(MOST_BYTES):
            answer: dict[str, Any] = json.loads(message)
            return answer
    return None


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
