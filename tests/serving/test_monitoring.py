"""The alert rules and the dashboard; and a real Prometheus that scrapes a real server of two workers (slow)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from benchmarks.fault_load import running_api
from benchmarks.servers import free_port, wait_until_ready
from tests.serving.conftest import CONFIG, Project

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "docker" / "prometheus"
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "nightloom.json"
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf8"))
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
POPULAR = 'nightloom_requests_total{route="/v1/popular",status="200"}'
SECONDS = 60


def program(name: str) -> str:
    """The path of a program of Prometheus. Where it is missing, the test is skipped; in CI that is a failure."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"found no {name}; ./run test installs it")
    return found


def promtool(*words: str, given: str | None = None) -> str:
    """What promtool prints. Fails where it finds something."""
    command = [program("promtool"), *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass
class Monitored:
    """A server, the process of `nightloom serve`, and the address of the Prometheus that scrapes it."""

    api: httpx.Client
    process: psutil.Process
    prometheus: str

    def workers(self) -> list[psutil.Process]:
        """Those that run."""
        running = [each for each in self.process.children() if each.status() != psutil.STATUS_ZOMBIE]
        return [each for each in running if "spawn_main" in " ".join(each.cmdline())]

    def query(self, text: str) -> dict[str, float]:
        """Series -> its value."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": text}, timeout=30).json()
        return {json.dumps(each["metric"]): float(each["value"][1]) for each in answer["data"]["result"]}

    def until(self, text: str, value: float) -> None:
        """Wait until a query has one series with a value."""
        deadline = time.monotonic() + SECONDS
        while [*(found := self.query(text)).values()] != [value]:
            assert time.monotonic() < deadline, (text, found)
            time.sleep(0.2)


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    program("prometheus")
    root = tmp_path_factory.mktemp("monitored")
    (root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    project = Project(root)
    project.plant_all().judge()
    project.publish()
    with running_api(root / "nightloom.toml", log=root / "api.log", options=("--workers", "2")) as (port, process):
        config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf8"))
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        (root / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf8")
        shutil.copy(MONITORING / "alerts.yaml", root)
        with (
            running_prometheus(root) as address,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            yield Monitored(client, process, address)


@contextmanager
def running_prometheus(root: Path) -> Iterator[str]:
    """The address of a Prometheus with root/prometheus.yaml."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus"), f"--config.file={root}/prometheus.yaml", f"--storage.tsdb.path={root}/series",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    with (root / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_ready(lambda: urllib.request.urlopen(f"http://{address}/-/ready", timeout=5).close(), process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(SECONDS)


def named_in_expressions() -> set[str]:
    """Metrics that the rules and the dashboard name."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf8"))["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return set(re.findall(r"\bnightloom_\w+", " ".join([*expressions, *(alert["expr"] for alert in ALERTS)])))


def test_the_rules_and_the_configuration_are_as_promtool_wants_them() -> None:
    promtool("check", "config", "docker/prometheus/prometheus.yaml")
    assert "SUCCESS" in promtool("test", "rules", "tests/docker/alerts_test.yaml")


def test_each_alert_is_tested_and_its_section_of_the_runbook_says_its_name() -> None:
    tests = yaml.safe_load((ROOT / "tests" / "docker" / "alerts_test.yaml").read_text(encoding="utf8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
    assert fired == quiet == {alert["alert"] for alert in ALERTS}
    page = (ROOT / "docs" / "runbook.md").read_text(encoding="utf8")
    sections = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    by_anchor = {heading.lower().replace(" ", "-"): text for heading, text in sections.items()}
    for alert in ALERTS:
        file, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert file == "docs/runbook.md"
        assert f"`{alert['alert']}`" in by_anchor[anchor], alert["alert"]


def test_every_alert_and_metric_is_on_the_page() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf8")
    missing = [name for name in named_in_expressions() if f"`{name.removesuffix('_bucket')}`" not in page]
    assert missing == []
    assert [alert["alert"] for alert in ALERTS if f"| `{alert['alert']}` |" not in page] == []


@pytest.mark.slow
def test_prometheus_counts_over_all_workers_and_over_the_death_of_one(monitored: Monitored) -> None:
    for _ in range(20):
        assert monitored.api.get("/v1/popular").status_code == 200
    monitored.until(f"sum({POPULAR})", 20)
    killed, _ = monitored.workers()
    killed.kill()
    answered = 0
    while answered < 20:
        with contextlib.suppress(httpx.TransportError):  # a connection of the worker that was killed
            answered += monitored.api.get("/v1/popular").status_code == 200
    monitored.until(f"sum({POPULAR})", 40)
    deadline = time.monotonic() + SECONDS
    while len([each for each in monitored.workers() if each != killed]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for _ in range(20):
        assert monitored.api.get("/v1/popular").status_code == 200
    monitored.until(f"sum({POPULAR})", 60)
    monitored.until(f"resets({POPULAR}[10m])", 0)
    monitored.until('up{job="nightloom"}', 1)


@pytest.mark.slow
def test_every_metric_of_the_rules_and_the_dashboard_is_scraped(monitored: Monitored) -> None:
    monitored.until('nightloom_stage_failed{stage="serving.publish"}', 0)
    names = httpx.get(f"{monitored.prometheus}/api/v1/label/__name__/values", timeout=30).json()["data"]
    assert named_in_expressions() - {*names} == set()
    groups = httpx.get(f"{monitored.prometheus}/api/v1/rules", timeout=30).json()["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert health.keys() == {alert["alert"] for alert in ALERTS}
    assert "err" not in health.values()
    promtool("check", "metrics", given=monitored.api.get("/metrics").text)
