"""Processes that belong to a project: found by what their environment says."""

from contextlib import suppress

import psutil


def processes_with(variable: str, value: str) -> list[psutil.Process]:
    """This user's processes whose environment has the variable with this value."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or it is another user's
            if process.environ().get(variable) == value:
                found.append(process)
    return found
