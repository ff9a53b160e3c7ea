"""A new version for a share of the users first, watched by a command; then for all, or for none.

The pointer names it beside the current version, with the share and an end: readers choose by a hash of the user, and
forget it at its end, so that a publisher that was killed leaves everybody with the current version.
"""

from __future__ import annotations

import os
import subprocess
import time
from datetime import timedelta

from nightloom.lake import now
from nightloom.settings import Canary
from serving.stores import Store, versions
from serving.stores.versions import Push, PushError, Reason

GRACE = timedelta(seconds=60)
"""A canary's end for readers is so much later than the publisher's, whose flip or way back comes first."""


def watched(store: Store, push: Push, canary: Canary) -> None:
    """Serve `push` to the share for the stated time. Raises PushError (`guardrail`) when the command ever says no."""
    served = versions.current(store)
    if served is None or canary.check is None or not canary.share:
        return
    end = time.monotonic() + canary.minutes * 60
    until = now() + timedelta(minutes=canary.minutes) + GRACE
    both = f"{versions.name(served)} {versions.name(push.version)}"
    store.write(versions.POINTER, f"{both} {canary.share} {until:%Y-%m-%dT%H:%M:%SZ}")
    try:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(canary.every_seconds, left))
            _asked(canary.check, served, push.version)
    finally:
        store.write(versions.POINTER, versions.name(served))


def _asked(check: str, served: int, version: int) -> None:
    names = {"NIGHTLOOM_CURRENT": versions.name(served), "NIGHTLOOM_CANARY": versions.name(version)}
    done = subprocess.run(check, shell=True, env=os.environ | names, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["nothing"]
        raise PushError(
            Reason.GUARDRAIL,
            f"{names['NIGHTLOOM_CANARY']}: store.canary.check ended with {done.returncode}, saying {said[0]!r}; "
            f"everybody has {names['NIGHTLOOM_CURRENT']} again",
        )
