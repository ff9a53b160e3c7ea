"""The DAGs as Airflow reads them, once for all tests of this folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What describe.py says about dags/: errors, DAGs by name, modules that were imported."""
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, str(Path(__file__).parent / "describe.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="session")
def dags(described: dict[str, Any]) -> dict[str, Any]:
    """DAG id -> what there is to know about it."""
    found: dict[str, Any] = described["dags"]
    return found
