"""The revision of the running code."""

import os
import subprocess
from pathlib import Path


def code_revision() -> str:
    """Git revision of the code (`+`: changed since; `unknown`: no checkout), or $NIGHTLOOM_REVISION in an image."""
    if revision := os.environ.get("NIGHTLOOM_REVISION"):
        return revision
    # Not `git describe --dirty`: it locks the index, so a killed stage would leave the lock to whoever commits here.
    revision, changed = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return (revision or "unknown") + ("+" if changed else "")


def _git(*command: str) -> str:
    """What git prints; nothing where there is no checkout."""
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *command]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
