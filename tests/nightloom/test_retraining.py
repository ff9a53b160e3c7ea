"""A night starts the retraining, by the real Airflow's scheduler: the asset of its gold tables carries its date.

The stages are stand-ins, as in test_night.py: what is tested is Airflow's part.
"""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from nightloom import settings as settings_module
from nightloom.local import airflow_server as airflow_server_module
from nightloom.local.airflow_server import airflow_server, free_port
from nightloom.local.airflow_setup import airflow_environment

CHECKOUT = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
echo "$* of $NIGHTLOOM_RUN_ID" >> {calls}
"""


@pytest.mark.slow
def test_the_night_that_a_scheduler_runs_starts_a_retraining_for_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, calls, stand_in = tmp_path / "nightloom.toml", tmp_path / "calls", tmp_path / "bin" / "python"
    file.write_text((CHECKOUT / "nightloom.toml").read_text(encoding="utf8"), encoding="utf8")
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(calls=calls), encoding="utf8")
    stand_in.chmod(0o755)
    settings = settings_module.load(file)

    def environment(*given: Any, **scheduled: Any) -> dict[str, str]:
        found = airflow_environment(*given, **scheduled)
        return found | {"PATH": f"{stand_in.parent}:{found['PATH']}"}

    monkeypatch.setattr(airflow_server_module, "airflow_environment", environment)
    started, lines = r"-m training.model_gate --date (\S+) of asset_triggered__", ""
    with airflow_server(settings, free_port(8181), scheduled=True) as server:
        deadline = time.monotonic() + 240
        while not re.search(started, lines):
            server.check()
            assert time.monotonic() < deadline, lines
            time.sleep(1)
            lines = calls.read_text(encoding="utf8") if calls.exists() else ""
    (night,) = re.findall(r"-m nightloom.stage spark_jobs.marts --date (\S+) of scheduled__", lines)
    assert re.findall(started, lines) == [night]
