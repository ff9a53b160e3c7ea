"""The DAGs as Airflow reads them, once for all tests of this folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
OPERATED = """
[airflow]
nightly = "30 2 * * *"
retraining = "0 6 * * 1"
timezone = "America/New_York"
retries = 3
retry_seconds = 60
time_limit_minutes = 90
pool = "nightloom"
queue = "spark"
deadline_minutes = 240

[[airflow.stages]]
name = "training.train"
retries = 0
time_limit_minutes = 600
pool = "gpus"
queue = "gpu"
memory_gib = 32
cores = 8.5

[[airflow.stages]]
name = "serving.report"
memory_gib = 0.5

[[airflow.alerts]]
notifier = "smtp"
arguments = { to = "ops@example.org", from_email = "nightloom@example.org" }

[[airflow.alerts]]
notifier = "slack"
on = ["deadline"]

[[airflow.alerts]]
notifier = "airflow.providers.http.notifications.http.HttpNotifier"
arguments = { endpoint = "/alerts", json = { text = "{{ alert.title }}" } }
"""
"""[airflow] as an operator may have it: 02:30 does not exist in New York when summer time begins."""


def describe(home: Path, **variables: str) -> dict[str, Any]:
    """What describe.py says about dags/: errors, DAGs by name, modules that were imported."""
    environment = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"} | variables
    command = [sys.executable, str(Path(__file__).parent / "describe.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """dags/ with this checkout's nightloom.toml."""
    return describe(tmp_path_factory.mktemp("airflow"), NIGHTLOOM_CONFIG=str(CHECKOUT / "nightloom.toml"))


@pytest.fixture(scope="session")
def operated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """dags/ with another [airflow], where Kubernetes is an executor and the file holds nothing else of use."""
    home = tmp_path_factory.mktemp("operated")
    (home / "nightloom.toml").write_text('[project]\nname = "shop"\n' + OPERATED, encoding="utf8")
    executors = "LocalExecutor,KubernetesExecutor"
    return describe(home, NIGHTLOOM_CONFIG=str(home / "nightloom.toml"), AIRFLOW__CORE__EXECUTOR=executors)


@pytest.fixture(scope="session")
def dags(described: dict[str, Any]) -> dict[str, Any]:
    """DAG id -> what there is to know about it."""
    found: dict[str, Any] = described["dags"]
    return found
