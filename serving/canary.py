"""Canary: a share of the users gets a new version first, while a command checks it; then all users get it, or none.

The pointer names the current version, the canary, its share and its end. Readers choose by a hash of the user and
ignore a canary after its end, so a killed publisher leaves everybody with the current version.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import timedelta

from nightloom.lake import now
from nightloom.settings import Canary
from serving.stores import Store, versions
from serving.stores.pointer import Pointer, key_of
from serving.stores.pushes import POINTER, FailureReason, Push, PushError, version_name

GRACE = timedelta(seconds=60)
"""Readers end a canary this much later than the publisher, whose flip or return comes first."""


def run_canary(store: Store, push: Push, canary: Canary) -> None:
    """Serve `push` to its share for the configured time. Raises PushError (`guardrail`) when the command fails once."""
    pointer = versions.read_pointer(store)
    if pointer is None or canary.check is None or not canary.share:
        return
    end = time.monotonic() + canary.minutes * 60
    until = now() + timedelta(minutes=canary.minutes) + GRACE
    store.write_note(POINTER, str(Pointer(pointer.served, key_of(push), canary.share, until)))
    try:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(canary.every_seconds, left))
            _run_check(canary.check, canary.check_seconds, pointer.served.version, push.version)
    finally:
        store.write_note(POINTER, str(Pointer(pointer.served)))


def _run_check(check: str, seconds: float, served: int, version: int) -> None:
    names = {"NIGHTLOOM_CURRENT": version_name(served), "NIGHTLOOM_CANARY": version_name(version)}
    code, output = _run_shell(check, seconds, os.environ | names)
    if code != 0:
        ended = f"did not end within {seconds:g} s" if code is None else f"ended with {code}"
        raise PushError(
            FailureReason.GUARDRAIL,
            f"{names['NIGHTLOOM_CANARY']}: store.canary.check {ended}, saying {output!r}; "
            f"everybody has {names['NIGHTLOOM_CURRENT']} again",
        )


def _run_shell(command: str, seconds: float, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a shell command -> its exit code and last line; no code where it was ended after `seconds`."""
    # Output goes to a file: what the shell started may hold a pipe open. In its own session all of it can be ended.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        shell = subprocess.Popen(
            command, shell=True, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        code: int | None = None
        try:
            code = shell.wait(seconds)
        except subprocess.TimeoutExpired:
            pass  # the error above says so
        finally:
            if shell.poll() is None:  # it hangs, or the stage was terminated
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
        output.seek(0)
        lines = output.read().strip().splitlines()
    return code, lines[-1] if lines else "nothing"
