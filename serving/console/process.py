"""The process of an action that takes long: runs a command of `nightloom`, then records how it ended.

`python -m serving.console.process nightloom.toml WORDS...`, with the action in NIGHTLOOM_ACTION.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

from nightloom import cli
from nightloom import settings as settings_module
from nightloom.lake import Lake
from serving.console import action_log, processes
from serving.console.action_log import LoggedAction


def main(config: str, *words: str) -> int:
    """Run the command -> its exit code."""
    row = json.loads(os.environ.pop("NIGHTLOOM_ACTION"))
    row.pop("status"), row.pop("outcome")
    action = LoggedAction(started_at=datetime.fromisoformat(row.pop("at")), **row)
    settings = settings_module.load(Path(config), reach=False)
    sys.argv = ["nightloom", "--config", config, *words]
    code: object = 1
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        processes.input_file(settings, action).unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        lines = (processes.output(settings, action.action_id) or "").strip().splitlines()
        last = lines[-1] if lines else f"exit code {code}"
        status = action_log.DONE if code == 0 else action_log.FAILED
        action_log.end(Lake(settings.place("lake")), action, status, last)
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
