"""The chart as Helm renders it: valid by the schemas of Kubernetes and of the operators, and as safe as it should be.

No cluster ran it.
"""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from bootstrap.images import PREFIX, ROLES
from nightloom.settings import Training
from tests.kubernetes import tools
from tests.kubernetes.tools import Manifest, Schemas

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHART = ROOT / "docker" / "kubernetes"
SETTINGS = ("--set-file", f"settings={ROOT / 'nightloom.toml'}")
TRAINING = ("--set", "training.enabled=true", "--set-string", "training.date=2026-03-01")


def helm(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([tools.helm(), *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    done = helm("template", "nightloom", str(CHART), "--namespace", "shop", *SETTINGS, *TRAINING)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return tools.schemas()


def problems(manifest: Manifest, schemas: Schemas) -> list[str]:
    validator = schemas[manifest["apiVersion"], manifest["kind"]]
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(manifest)]


def test_helm_lints_the_chart() -> None:
    done = helm("lint", "--strict", str(CHART), *SETTINGS, *TRAINING)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_manifest_is_valid(manifests: list[Manifest], schemas: Schemas) -> None:
    assert {each["kind"] for each in manifests} == {
        "ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor",
        "NetworkPolicy", "Role", "RoleBinding", "MPIJob",
    }  # fmt: skip
    for manifest in manifests:
        assert problems(manifest, schemas) == [], manifest["kind"]


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0), "readynessProbe"),
        ("MPIJob", ("spec", "mpiReplicaSpecs", "Worker", "template", "spec"), "container"),
        ("ServiceMonitor", ("spec", "endpoints", 0), "every"),
    ],
)
def test_the_schemas_refuse_a_misspelled_key(
    kind: str, path: tuple[str | int, ...], name: str, manifests: list[Manifest], schemas: Schemas
) -> None:
    manifest = deepcopy(next(each for each in manifests if each["kind"] == kind))
    place = manifest
    for step in path:
        place = place[step]  # type: ignore[index]
    place[name] = {}
    assert any(name in problem for problem in problems(manifest, schemas))


def test_pods_have_no_root_no_writable_image_and_no_account(manifests: list[Manifest]) -> None:
    found = list(pods(manifests))
    assert len(found) == 3
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            name = container["image"].rpartition(":")[0]
            assert name.removeprefix(PREFIX) in ROLES
            assert {"memory", "cpu"} <= container["resources"]["requests"].keys()
            assert {"secretRef": {"name": "nightloom"}} in container["envFrom"]


def test_the_api_gets_requests_while_it_is_healthy(manifests: list[Manifest]) -> None:
    (pod,) = pods([each for each in manifests if each["kind"] == "Deployment"])
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert {"name": "http", "containerPort": 8000} in container["ports"]


def test_the_mpijobs_hosts_are_settings_that_training_takes(manifests: list[Manifest]) -> None:
    (job,) = (each for each in manifests if each["kind"] == "MPIJob")
    (launcher,) = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"]
    variables = {each["name"].removeprefix("NIGHTLOOM_TRAINING__").lower(): each["value"] for each in launcher["env"]}
    training = Training.model_validate(variables | {"hosts": json.loads(variables["hosts"])})
    worker = "nightloom-training-2026-03-01-worker-{}.nightloom-training-2026-03-01.shop.svc:1"
    assert training.hosts == (worker.format(0), worker.format(1))
    assert (training.min_ranks, training.ssh_port) == (1, 2222)


def test_the_settings_reach_the_pods_as_they_are(manifests: list[Manifest]) -> None:
    (found,) = (each for each in manifests if "nightloom.toml" in each.get("data", {}))
    assert found["data"]["nightloom.toml"].strip() == (ROOT / "nightloom.toml").read_text().strip()


def test_what_is_missing_is_named() -> None:
    assert "settings is empty: --set-file settings=nightloom.toml" in helm("template", "x", str(CHART)).stderr
    done = helm("template", "x", str(CHART), *SETTINGS, "--set", "training.enabled=true")
    assert "training.date is empty: the night, as YYYY-MM-DD" in done.stderr


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """The specs of all pods."""
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            yield manifest["spec"]["template"]["spec"]
        elif manifest["kind"] == "MPIJob":
            for replicas in manifest["spec"]["mpiReplicaSpecs"].values():
                yield replicas["template"]["spec"]
