"""GET /metrics: what Prometheus reads of one process of the API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project


def figures(client: Client) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (re.fullmatch(r"(\S+) (\S+)", line).groups() for line in lines)}  # type: ignore[union-attr]


def test_answers_to_apps_count_by_status_and_seconds(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    client = project.client()
    before = figures(client)
    assert before["nightloom_request_seconds_count"] == 0
    for path in ("/v1/popular", "/v1/users/u1/recommendations", "/v1/popular?k=0", "/healthz", "/"):
        client.get(path)
    found = figures(client)
    assert found['nightloom_requests_total{status="200"}'] == 2
    assert found['nightloom_requests_total{status="400"}'] == 1
    assert found['nightloom_request_seconds_bucket{le="+Inf"}'] == found["nightloom_request_seconds_count"] == 3
    buckets = [count for name, count in found.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert found["nightloom_request_seconds_sum"] > 0


def test_metrics_are_there_before_anything_was_published(project: Project) -> None:
    client = project.client()
    assert client.get("/v1/popular").status_code == 503
    assert figures(client)['nightloom_requests_total{status="503"}'] == 1
