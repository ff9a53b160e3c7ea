"""The end of a stage by a signal: SIGTERM (Airflow's timeout or *clear*, a deployment), SIGHUP, Ctrl-C.

The body is left as by an exception, so that its `with` blocks and `finally` clauses run; the run is recorded; children
(ranks, Spark's JVM, commands) are ended; the process exits with 128 + the number of the signal. A body that does not
leave within SECONDS_TO_LEAVE, since it is inside a library's long call, is recorded and ended from another thread.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import psutil

from nightloom.signals import SIGNALS, handled_signals

SECONDS_TO_LEAVE = 1.5
SECONDS_TO_RECORD = 3
SECONDS_FOR_CHILDREN = 0.5
SECONDS_TO_ABANDON = 0.5


class Termination:
    """A block that a signal ends in order.

    `record` is called with the reason, and `abandon` to end what other processes do for this one; both maybe from
    another thread.
    """

    def __init__(self, name: str, record: Callable[[str], None], abandon: Callable[[], None]) -> None:
        self._name, self._record, self._abandon = name, record, abandon
        self._received: signal.Signals | None = None
        self._children: list[psutil.Process] = []
        self._before: dict[signal.Signals, Any] = {}
        self._ending = threading.Lock()

    @property
    def received(self) -> bool:
        """Whether a signal came: what the body raises since then is its consequence."""
        return self._received is not None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._leave) for number in handled_signals()}
        # Python calls a handler between two steps of the main thread, but writes to this pipe at once.
        arrivals, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(arrivals,), name="termination", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):  # Spark has a handler of its own for Ctrl-C
            self._received = signal.SIGINT
        if self._received:
            self._end()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._wakeup)  # ends the thread

    def _leave(self, number: int, frame: FrameType | None) -> NoReturn:
        """The handler, in the main thread."""
        for each in self._before:
            signal.signal(each, signal.SIG_IGN)
        self._received = signal.Signals(number)
        self._children = descendants()  # now: when a launcher has ended, its processes are nobody's children
        for child in self._children:
            with suppress(psutil.Error):
                child.terminate()
        raise SystemExit(128 + number)

    def _watch(self, arrivals: int) -> None:
        """In a thread of its own: end the process if the main thread does not."""
        while number := os.read(arrivals, 1):
            if number[0] in SIGNALS:
                self._received = self._received or signal.Signals(number[0])
                time.sleep(SECONDS_TO_LEAVE)
                self._end()
        os.close(arrivals)

    def _end(self) -> NoReturn:
        """Record the run, end the children, exit. The first thread that comes here does it."""
        assert self._received is not None
        message = f"{self._name}: terminated by {self._received.name}"
        abandoning = threading.Thread(target=self._abandon, daemon=True)
        abandoning.start()
        if self._ending.acquire(timeout=SECONDS_TO_RECORD):  # and never released
            try:
                self._record(f"terminated by {self._received.name}")
            except Exception as error:
                message += f"; ops.stages does not have it: {error}"
        end_processes([*self._children, *descendants()], SECONDS_FOR_CHILDREN)
        abandoning.join(SECONDS_TO_ABANDON)
        with suppress(OSError):  # whoever reads our output may be gone
            print(message, file=sys.stderr, flush=True)
            if threading.current_thread() is threading.main_thread():  # else the main thread may have its lock
                sys.stdout.flush()
        os._exit(128 + self._received)  # not sys.exit(), which waits for threads such as a stream's


def descendants() -> list[psutil.Process]:
    """The processes below this one."""
    return psutil.Process().children(recursive=True)


def end_processes(processes: list[psutil.Process], seconds: float) -> None:
    """SIGTERM to the processes, and SIGKILL to those that still run after some seconds."""
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + seconds
    while (running := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in running:
        with suppress(psutil.Error):
            process.kill()


def _runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that waits, dead, for its parent to notice has."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
