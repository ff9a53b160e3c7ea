"""Explanations for the API and the console, by a process of their own: it is started at need, and asked over loopback.

An explanation opens the lake, MLflow and a model: some hundred MB and seconds of work that must not slow the process
that reads lists. All workers of a server share one such process (explainer.py); HOME/explainer.json has its port and
key. Where it has ended, the next question starts another one.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge

import psutil
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from nightloom.errors import NightloomError
from nightloom.settings import Settings
from serving.web.errors import error_body
from serving.web.problem import problem_page

MAX_WAITING = 2
"""Questions that a worker, or the process itself, has at a time; one more is answered with 503."""
MAX_SECONDS = 60.0
"""For one answer. The process ends where one takes longer."""
START_SECONDS = 60.0
RETRY_SECONDS = 2
TRIES = 2
"""The process may end by itself between two questions."""


class ExplainerError(NightloomError):
    """The process of the explanations does not start, or ends while it answers."""


@dataclass(frozen=True)
class Question:
    """Why is this user shown this item? `page` asks for the console's page and not for JSON."""

    user: str
    item: str
    page: bool
    asker: int = 0
    """Process that waits for the answer."""


@dataclass(frozen=True)
class Answer:
    """A finished HTTP answer."""

    code: int
    body: bytes
    page: bool
    busy: bool = False

    def to_bytes(self) -> bytes:
        """A line of JSON, then the body."""
        head = {"code": self.code, "page": self.page, "busy": self.busy}
        return json.dumps(head).encode() + b"\n" + self.body

    @classmethod
    def from_bytes(cls, sent: bytes) -> Answer:
        head, body = sent.split(b"\n", 1)
        return cls(body=body, **json.loads(head))

    def response(self, request_id: str) -> Response:
        """Of an error of the API with the id of its request."""
        headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(RETRY_SECONDS)} if self.busy else {})
        body = self.body
        if self.code >= 400 and not self.page:
            error = json.loads(body)["error"]
            body = error_body(error["code"], error["message"], request_id)
        return Response(body, self.code, headers, "text/html" if self.page else "application/json")


def failure(settings: Settings, page: bool, code: int, kind: str, message: str, busy: bool = False) -> Answer:
    """An error, as the API or the console shows it."""
    if page:
        return Answer(code, bytes(problem_page(settings, message, code).body), page, busy)
    return Answer(code, json.dumps({"error": {"code": kind, "message": message}}).encode(), page, busy)


def busy(settings: Settings, page: bool) -> Answer:
    message = f"{MAX_WAITING} explanations are under way; ask again in {RETRY_SECONDS} seconds"
    return failure(settings, page, 503, "busy", message, busy=True)


class Explanations:
    """The asking side, one for each worker of a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._scratch = settings, settings.place("scratch")
        self._waiting = 0

    async def respond(self, request: Request, user: str, item: str, *, page: bool) -> Response:
        """Why a user is shown an item; 503 with Retry-After while MAX_WAITING others wait."""
        answer = await self._answer(Question(user, item, page, os.getpid()))
        return answer.response(request.state.request_id)

    async def _answer(self, question: Question) -> Answer:
        if self._waiting >= MAX_WAITING:
            return busy(self._settings, question.page)
        self._waiting += 1
        try:
            return await run_in_threadpool(self.ask, question)
        except ExplainerError as error:
            return failure(self._settings, question.page, 503, "not_here", str(error))
        finally:
            self._waiting -= 1

    def ask(self, question: Question) -> Answer:
        """The process's answer; it is started where it does not run. Raises ExplainerError."""
        for _ in range(TRIES):
            try:
                with self._connection() as connection:
                    connection.send_bytes(json.dumps(vars(question)).encode())
                    if not connection.poll(MAX_SECONDS):
                        raise ExplainerError(f"the explanation took longer than {MAX_SECONDS:.0f} s")
                    return Answer.from_bytes(connection.recv_bytes())
            except (EOFError, OSError) as error:
                ended = error
        raise ExplainerError(f"the process that explains ended while it answered ({ended!r}); its last lines say why")

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        found = self._connect()
        if found is None:
            with self._exclusive():
                found = self._connect() or self._start()  # another worker may have started it meanwhile
        with found:
            yield found

    def _connect(self) -> Connection | None:
        """A connection to the running process; None where none runs."""
        try:
            known = json.loads((self._scratch / STATE).read_text(encoding="utf8"))
            if not psutil.pid_exists(known["pid"]):
                return None
            connection, key = Client(("127.0.0.1", known["port"])), bytes.fromhex(known["key"])
            if not connection.poll(MAX_SECONDS):
                raise ExplainerError(f"the process {known['pid']} that explains does not answer; end it")
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
            return connection
        except (FileNotFoundError, ConnectionError, EOFError, AuthenticationError, json.JSONDecodeError):
            return None  # not started, ended, or another program has its port by now

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One worker of all starts the process."""
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            lock = (self._scratch / "explainer.lock").open("w")
        except OSError as error:
            raise ExplainerError(f"explanations need a home folder that can be written to: {error}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> Connection:
        command = [sys.executable, "-m", "serving.explainer", "--config", str(self._settings.file)]
        environment = {"OMP_NUM_THREADS": "1"} | dict(os.environ)  # the other cores are the readers'
        command += ["--asker", str(os.getpid())]
        started = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        # The system keeps an ended process until somebody waits for it.
        threading.Thread(target=started.wait, daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if (connection := self._connect()) is not None:
                return connection
            if (code := started.poll()) is not None:
                raise ExplainerError(f"the process that explains ended with exit code {code}: {' '.join(command)}")
            time.sleep(0.05)
        started.kill()
        raise ExplainerError(f"the process that explains did not start in {START_SECONDS:.0f} s: {' '.join(command)}")


STATE = "explainer.json"
"""The port and the key of the running process, in the home folder; only its owner may read it."""
