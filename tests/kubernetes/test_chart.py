"""The chart's files as text: what they say agrees with the code. test_rendered.py renders and validates them."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.images import PREFIX, ROLES
from nightloom.night import stages
from serving.metrics.counters import Counters
from serving.metrics.exposition import render_families

ROOT = Path(__file__).parents[2]
CHART = ROOT / "docker" / "kubernetes"
VALUES = CHART / "values.yaml"


def read(name: str) -> Any:
    return yaml.safe_load((CHART / name).read_text())


def test_every_value_has_a_sentence_above_it() -> None:
    sections = {name for name, value in read("values.yaml").items() if isinstance(value, dict)}
    keys = [
        (above.strip().startswith("#"), line)
        for above, line in pairwise(VALUES.read_text().splitlines())
        if re.match(r"(  )?[A-Za-z_]+:", line)
    ]
    assert len(keys) > 25
    undocumented = [line for documented, line in keys if not documented and line.removesuffix(":") not in sections]
    assert undocumented == []


def test_memory_requests_follow_from_the_stages_budgets() -> None:
    training = read("values.yaml")["training"]["resources"]
    assert training["requests"]["memory"] == f"{stages.TRAIN.gib:g}Gi"
    assert training["limits"]["memory"] == f"{2 * stages.TRAIN.gib:g}Gi"
    task = read("airflow.yaml")["workers"]["resources"]["requests"]
    assert task["memory"] == f"{max(stage.gib for stage in stages.ALL):g}Gi"


def test_images_are_those_of_run_images() -> None:
    images = read("airflow.yaml")["images"]
    assert {each["repository"] for each in images.values()} <= {PREFIX + role for role in ROLES}
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    assert f'printf "%s{PREFIX}%s:%s" .root.Values.registry .role' in helpers


def test_airflows_pods_have_what_our_release_makes() -> None:
    airflow, spark = read("airflow.yaml"), read("values.yaml")["spark"]
    assert [next(iter(each.values()))["name"] for each in yaml.safe_load(airflow["extraEnvFrom"])] == [
        "nightloom-environment",
        "nightloom",
    ]
    assert airflow["volumes"][0]["configMap"]["name"] == "nightloom-settings"
    assert airflow["workers"]["serviceAccount"]["name"] == spark["driverServiceAccount"]
    version = re.search(r"apache-airflow==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert version is not None
    assert airflow["airflowVersion"] == version[1]


def test_the_adapter_makes_the_autoscalers_metrics_from_what_the_api_counts() -> None:
    rules = read("prometheus-adapter.yaml")["rules"]["custom"]
    wanted = re.findall(r"metric: {name: (\w+)}", (CHART / "templates" / "autoscaling.yaml").read_text())
    assert [rule["name"]["as"] for rule in rules] == wanted
    counters = Counters(["/v1/popular"], ["popular"])
    counters.count_request("/v1/popular", 200, 0.001)
    counted = re.findall(r"# TYPE (\w+) ", render_families(counters.families()))
    for rule in rules:
        series = rule["seriesQuery"].partition("{")[0]
        assert series.removesuffix("_bucket") in counted


@pytest.mark.parametrize("name", ["values.yaml", "airflow.yaml", "prometheus-adapter.yaml"])
def test_no_value_is_a_secret(name: str) -> None:
    secret = r"(?im)^[^#]*?(\w*(?:password|token|secret_?key|access_?key)\w*): *\S"
    keys = re.findall(secret, (CHART / name).read_text())
    assert [key for key in keys if not key.endswith("SecretName")] == []
