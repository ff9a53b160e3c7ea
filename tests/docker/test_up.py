"""`./run up` in a real Docker, from nothing: health checks, a night by Celery on a Spark cluster, a list by the proxy.

It needs a Docker that answers, with compose, and the image debian:bookworm-slim or a registry that has it; half an
hour.
"""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap import containers
from bootstrap.images import ROLES
from nightloom.local.airflow_server import free_port
from tests.docker.real_docker import needs_docker

ROOT = Path(__file__).parents[2]
PROJECT = "nightloom-test"


pytestmark = [
    pytest.mark.slow,
    needs_docker,
    pytest.mark.xdist_group("docker"),
]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    ports = {name: str(free_port(0)) for name in containers.PORTS}
    return os.environ | ports | {"COMPOSE_PROJECT_NAME": PROJECT}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone: the passwords of this checkout's own containers stay as they are."""
    folder = tmp_path_factory.mktemp("docker") / "code"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def figures(code: Path, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The last line of `./run up`."""
    done = subprocess.run(["./run", "up"], cwd=code, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    try:
        assert done.returncode == 0, done.stdout
        print(done.stdout)
        yield json.loads(done.stdout.splitlines()[-1])
    finally:
        subprocess.run(["./run", "down", "--volumes"], cwd=code, env=environment, check=True)


@pytest.fixture(scope="module")
def services(figures: dict[str, Any]) -> dict[str, Any]:
    """Service -> its container."""
    label = f"label=com.docker.compose.project={PROJECT}"
    ids = subprocess.run(["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True).stdout
    found = subprocess.run(["docker", "inspect", *ids.split()], capture_output=True, text=True, check=True).stdout
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in json.loads(found)}


def run_in(services: dict[str, Any], service: str, *command: str) -> str:
    done = ["docker", "exec", services[service]["Id"], *command]
    return subprocess.run(done, capture_output=True, text=True, check=True).stdout


def test_every_health_check_is_green(services: dict[str, Any]) -> None:
    assert {name: containers.state_of(each) for name, each in services.items()} == {
        name: "done" if name == "airflow-database" else "healthy" for name in services
    }


def test_no_process_has_the_rights_of_root(services: dict[str, Any]) -> None:
    assert {run_in(services, name, "id", "-u").strip() for name in services if name != "airflow-database"} == {"10001"}


def test_the_figures_of_the_last_line(figures: dict[str, Any]) -> None:
    assert {*ROLES} < figures["images_mib"].keys()
    assert figures["night_s"] > 0
    assert 1 < figures["peak_gib"] < 20


def test_a_running_instance_serves_when_the_other_one_is_killed(
    services: dict[str, Any], environment: dict[str, str]
) -> None:
    url = f"http://127.0.0.1:{environment['API_PORT']}/v1/users/196/recommendations"
    subprocess.run(["docker", "kill", services["serving-1"]["Id"]], check=True, stdout=subprocess.DEVNULL)
    for _ in range(50):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert json.load(answer)["source"] == "personal"
