"""Canary: a share of the users gets a new version first, while a command checks it; then all users get it, or none.

The pointer names the current version, the canary, its share and its end. Readers choose by a hash of the user and
ignore a canary after its end, so a killed publisher leaves everybody with the current version.
"""

from __future__ import annotations

import os
import subprocess
import time
from datetime import timedelta

from nightloom.lake import now
from nightloom.settings import Canary
from serving.stores import Store, versions
from serving.stores.pushes import POINTER, FailureReason, Push, PushError, version_name

GRACE = timedelta(seconds=60)
"""Readers end a canary this much later than the publisher, whose flip or return comes first."""


def run_canary(store: Store, push: Push, canary: Canary) -> None:
    """Serve `push` to its share for the configured time. Raises PushError (`guardrail`) when the command fails once."""
    served = versions.current_version(store)
    if served is None or canary.check is None or not canary.share:
        return
    end = time.monotonic() + canary.minutes * 60
    until = now() + timedelta(minutes=canary.minutes) + GRACE
    both = f"{version_name(served)} {version_name(push.version)}"
    store.write_note(POINTER, f"{both} {canary.share} {until:%Y-%m-%dT%H:%M:%SZ}")
    try:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(canary.every_seconds, left))
            _run_check(canary.check, served, push.version)
    finally:
        store.write_note(POINTER, version_name(served))


def _run_check(check: str, served: int, version: int) -> None:
    names = {"NIGHTLOOM_CURRENT": version_name(served), "NIGHTLOOM_CANARY": version_name(version)}
    run = subprocess.run(check, shell=True, env=os.environ | names, capture_output=True, text=True, check=False)
    if run.returncode:
        output = (run.stdout + run.stderr).strip().splitlines()[-1:] or ["nothing"]
        raise PushError(
            FailureReason.GUARDRAIL,
            f"{names['NIGHTLOOM_CANARY']}: store.canary.check ended with {run.returncode}, saying {output[0]!r}; "
            f"everybody has {names['NIGHTLOOM_CURRENT']} again",
        )
