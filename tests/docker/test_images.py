"""docker/: Dockerfile, compose.yaml and the commands around them agree, as far as that shows without Docker."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap import containers
from bootstrap.build_stage import STEPS
from bootstrap.images import PREFIX, ROLES, SERVERS

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
GRAFANA = "grafana/grafana:11.6.0"
"""The one image that is not built here."""


def stages() -> dict[str, str]:
    """Stage of the Dockerfile -> its lines, its header included."""
    text = DOCKERFILE.read_text(encoding="utf8")
    return {found[1]: found[0] for found in re.finditer(r"^FROM \S+ AS (\S+)\n(?:(?!FROM ).*\n)*", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf8"))


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(each) for each in (hadolint, "--config", DOCKER / "hadolint.yaml", DOCKERFILE)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", [*ROLES, *SERVERS])
def test_an_image_has_a_user_without_rights_and_a_health_check(name: str) -> None:
    assert "\nUSER 10001\n" in stages()[name]
    assert "\nHEALTHCHECK " in stages()[name]


@pytest.mark.parametrize("name", ROLES)
def test_the_code_of_a_role_comes_after_its_packages(name: str) -> None:
    assert "COPY --from=code" in stages()[name]
    assert not re.search(r"^RUN ", stages()[name], re.MULTILINE)


def test_bases_are_arguments() -> None:
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(encoding="utf8"), re.MULTILINE)) - stages().keys()
    assert bases == {"${BASE}", "${BUILD_BASE}"}


def test_the_stages_that_build_call_steps_that_exist() -> None:
    called = set(re.findall(r"bootstrap\.build_stage (\S+)", DOCKERFILE.read_text(encoding="utf8")))
    both = {name.replace("${ACCELERATOR}", kind) for name in called for kind in ("cpu", "cuda")}
    assert both == STEPS.keys()


def test_every_module_that_the_metadata_names_is_in_the_code_of_an_image() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["setuptools"]
    modules = [f"{name}.py" for name in setuptools["py-modules"]]
    packages = [name for name in setuptools["packages"]["find"]["include"] if not name.endswith(".*")]
    sent = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf8").splitlines()
    assert [name for name in (*modules, *packages) if f"!{name}" not in sent] == []


def test_what_a_cpu_image_leaves_out_is_locked() -> None:
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    for file in (DOCKER / "packages").iterdir():
        left_out = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert [name for name in left_out if name not in locked] == []


def test_each_service_has_an_image_of_ours_or_grafanas(compose: Any) -> None:
    images = {service["image"] for service in compose["services"].values()}
    assert {name for name in images if not name.startswith("grafana/")} == {
        PREFIX + each for each in (*ROLES, *SERVERS)
    }


def test_volumes_have_names_and_no_service_uses_another_one(compose: Any) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}
    assert named == compose["volumes"].keys()


def test_ports_are_open_to_this_machine_only(compose: Any) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    known = containers.PORTS | containers.MONITORING_PORTS
    assert len(ports) == len(known)
    for port in ports:
        found = re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}:\d+", port)
        assert found is not None, port
        assert known[found[1]] == int(found[2])


def test_every_variable_without_a_default_is_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Any
) -> None:
    monkeypatch.setattr(containers, "SECRETS", tmp_path / "secrets.env")
    containers.write_secrets()
    named = set(re.findall(r"\$\{(\w+)\}", (DOCKER / "compose.yaml").read_text(encoding="utf8")))
    assert named == containers.read_secrets().keys()


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "SECRETS", tmp_path / "secrets.env")
    containers.write_secrets()
    first = containers.read_secrets()
    containers.write_secrets()
    assert containers.read_secrets() == first
    assert len(set(first.values())) == len(first)
    assert containers.SECRETS.stat().st_mode & 0o777 == 0o600


def test_a_file_of_secrets_of_an_earlier_version_gets_those_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "SECRETS", tmp_path / "secrets.env")
    containers.SECRETS.write_text("REDIS_PASSWORD=kept\n")
    containers.write_secrets()
    assert containers.read_secrets()["REDIS_PASSWORD"] == "kept"
    assert len(containers.read_secrets()["GRAFANA_ADMIN_PASSWORD"]) >= 48


def test_git_ignores_the_secrets() -> None:
    assert subprocess.run(["git", "check-ignore", "-q", containers.SECRETS], cwd=ROOT, check=False).returncode == 0


def test_two_stages_at_a_time_find_executors_for_their_ranks(compose: Any) -> None:
    """A stage that waits for another one's executors holds a place of the Celery worker and does nothing."""

    def default(service: str, variable: str) -> str:
        found = re.search(rf"\$\{{{variable}:-(\w+)\}}", " ".join(compose["services"][service]["command"]))
        assert found is not None
        return found[1]

    variables = compose["services"]["worker-1"]["environment"]
    stages_at_a_time, ranks = (
        int(default("worker-1", "WORKER_CONCURRENCY")),
        int(variables["NIGHTLOOM_TRAINING__RANKS"]),
    )
    workers = [
        name
        for name, each in compose["services"].items()
        if "worker.Worker" in str(each.get("command")) and "profiles" not in each
    ]
    cores = int(default(workers[0], "SPARK_WORKER_CORES"))
    assert json.loads(variables["NIGHTLOOM_SPARK__SETTINGS"])["spark.executor.cores"] == "1"
    assert stages_at_a_time * ranks <= len(workers) * cores
    beside_the_heap = 512  # MiB of each executor's Python, by spark_jobs/sizing.py
    assert cores * (1024 + beside_the_heap) <= 1024 * int(default(workers[0], "SPARK_WORKER_MEMORY").removesuffix("g"))
