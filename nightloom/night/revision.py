"""The revision of the running code."""

import os
import subprocess
from pathlib import Path


def code_revision() -> str:
    """Git revision of the code (`+`: changed since; `unknown`: no checkout), or $NIGHTLOOM_REVISION in an image."""
    if revision := os.environ.get("NIGHTLOOM_REVISION"):
        return revision
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
