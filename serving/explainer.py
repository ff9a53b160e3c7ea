"""The process that explains: questions over a loopback connection -> finished answers, one after the other.

serving/explanations.py starts it, and says why it is a process of its own. It ends by itself: when no process is left
that asked, after IDLE_SECONDS without a question, when an answer takes too long, or above MAX_BYTES of memory. After a
publish it loads the new version's model before anybody asks.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path

import psutil

from nightloom import settings as settings_module
from nightloom.errors import NightloomError, StoreError, UnknownUserError
from nightloom.lake import as_json
from nightloom.pages.html import render
from nightloom.settings import Settings
from serving import explain
from serving.explanations import MAX_SECONDS, MAX_WAITING, STATE, Answer, Question, busy, failure
from serving.stores import open_store
from serving.stores.base import NothingPublishedError
from serving.stores.reader import Reader

PAGE = Path(__file__).parent / "console" / "templates" / "explain.html"
IDLE_SECONDS = 900.0
MAX_BYTES = 2 << 30
"""Resident memory, files that are mapped aside. Above it the process ends after its answer, above twice at once."""
LOOK_SECONDS = 0.5
NICENESS = 5


def answer(settings: Settings, reader: Reader, question: Question) -> Answer:
    """One explanation, or the error that stands for it."""
    try:
        why = explain.build_explanation(settings, reader, question.user, question.item)
    except UnknownUserError as error:
        return failure(settings, question.page, 404, "not_listed", str(error))
    except NothingPublishedError as error:
        return failure(settings, question.page, 503, "nothing_published", str(error))
    except StoreError as error:
        return failure(settings, question.page, 503, "store_unavailable", str(error))
    except NightloomError as error:
        return failure(settings, question.page, 503, "not_here", str(error))
    if question.page:
        return Answer(200, render(PAGE, project=settings.project.name, why=why).encode("utf8", "replace"), page=True)
    return Answer(200, as_json(why.as_dict()).encode("utf8", "replace"), page=False)


class Explainer:
    """The answering side."""

    def __init__(self, settings: Settings, asker: int, idle_seconds: float, max_bytes: int) -> None:
        self._settings, self._reader = settings, Reader(open_store(settings, reading=True))
        self._idle_seconds, self._max_bytes = idle_seconds, max_bytes
        self._key, self._state = secrets.token_bytes(32), settings.place("scratch") / STATE
        self._admitted, self._turn = threading.BoundedSemaphore(MAX_WAITING), threading.Lock()
        self._askers = {psutil.Process(asker)}
        self._last_question, self._began = time.monotonic(), float("inf")

    def run(self) -> None:
        """Answer until there is a reason to end."""
        with Listener(("127.0.0.1", 0)) as listener:
            for work in (self._follow_versions, lambda: self._accept(listener)):
                threading.Thread(target=work, daemon=True).start()
            self._announce(listener)
            while not (why := self._reason_to_end()):
                time.sleep(LOOK_SECONDS)
            print(f"explanations: the process ends, {why}", file=sys.stderr, flush=True)

    def _announce(self, listener: Listener) -> None:
        """Write the state for those who ask."""
        unfinished = self._state.with_suffix(f".{os.getpid()}")
        unfinished.touch(mode=0o600)
        self._announced = json.dumps({"port": listener.address[1], "key": self._key.hex(), "pid": os.getpid()})
        unfinished.write_text(self._announced, encoding="utf8")
        unfinished.replace(self._state)

    def _is_known(self) -> bool:
        try:
            return self._state.read_text(encoding="utf8") == self._announced
        except FileNotFoundError:
            return False

    def _reason_to_end(self) -> str:
        self._askers = {asker for asker in self._askers if _is_alive(asker)}
        memory, answering = psutil.Process().memory_info(), self._began != float("inf")
        used = memory.rss - memory.shared
        reasons = {
            "nobody is left who asked": not self._askers,
            "another one has taken its place": not self._is_known() and not answering,
            f"{self._idle_seconds:.0f} s without a question": self._idle() and not answering,
            f"an answer took more than {MAX_SECONDS:.0f} s": time.monotonic() - self._began > MAX_SECONDS,
            f"it uses {used / 2**20:.0f} MiB": used > (2 if answering else 1) * self._max_bytes,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _idle(self) -> bool:
        return time.monotonic() - self._last_question > self._idle_seconds

    def _accept(self, listener: Listener) -> None:
        while True:
            threading.Thread(target=self._converse, args=(listener.accept(),), daemon=True).start()

    def _converse(self, connection: Connection) -> None:
        with connection:
            try:
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
                question = Question(**json.loads(connection.recv_bytes()))
                connection.send_bytes(self._admit(question).to_bytes())
            except (AuthenticationError, EOFError, OSError) as error:  # the asker is gone, or is none of ours
                print(f"explanations: a connection broke: {error!r}", file=sys.stderr, flush=True)

    def _admit(self, question: Question) -> Answer:
        if not self._admitted.acquire(blocking=False):
            return busy(self._settings, question.page)
        try:
            self._last_question = time.monotonic()
            self._askers |= {psutil.Process(question.asker)}
            with self._working():
                return answer(self._settings, self._reader, question)
        except Exception as error:  # the asker gets an answer, the log the traceback
            traceback.print_exc()
            return failure(self._settings, question.page, 503, "not_explained", f"{type(error).__name__}: {error}")
        finally:
            self._admitted.release()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """One at a time: two would take the memory of two."""
        with self._turn:
            self._began = time.monotonic()
            try:
                yield
            finally:
                self._began = float("inf")

    def _follow_versions(self) -> None:
        """Load what an explanation of the served version needs, now and after each publish."""
        version, problem = 0, ""
        while True:
            try:
                snapshot = self._reader.current()
                if snapshot.version != version:
                    with self._working():
                        explain.prepare(self._settings, snapshot)
                    version = snapshot.version
            except NightloomError as error:  # an answer will say it, too
                if str(error) != problem:
                    problem = str(error)
                    print(f"explanations: {problem}", file=sys.stderr, flush=True)
            time.sleep(LOOK_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(argv: Sequence[str] | None = None) -> None:
    """Answer questions about served items until nobody asks."""
    parser = argparse.ArgumentParser(prog="python -m serving.explainer", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--asker", type=int, required=True, help="process that starts it")
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES)
    given = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, and the process ends with it
    os.nice(NICENESS)  # lists first
    explainer = Explainer(
        settings_module.load(given.config, reach=False), given.asker, given.idle_seconds, given.max_bytes
    )
    explainer.run()
    os._exit(0)  # threads of libraries may still run, and would abort an ordinary end


if __name__ == "__main__":
    main()
