"""`python -m nightloom.stage STAGE ARGUMENTS`: a stage, in a fork of the night's warm interpreter where one runs.

Everything else is as with `python -m STAGE ARGUMENTS`.
"""

import runpy
import sys

from nightloom.night import interpreter


def main() -> None:
    """Run a stage, or become the warm interpreter."""
    _, stage, *arguments = sys.argv
    if stage == interpreter.WARM:
        become_warm()
    elif (code := interpreter.run(stage, arguments)) is not None:
        sys.exit(code)
    else:
        sys.argv = [stage, *arguments]
        _run_here(stage)


def become_warm() -> None:
    """Fork for stages, and in a fork run the one that was asked for."""
    if (request := interpreter.serve()) is not None:
        _run_here(request.stage)


def _run_here(stage: str) -> None:
    """Run a stage in this process; sys.argv has its arguments."""
    sys.modules.pop(stage, None)  # the warm interpreter has imported it, and runpy warns of that
    runpy.run_module(stage, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
