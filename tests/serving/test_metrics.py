"""GET /metrics: what Prometheus reads of a server, and who may."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from nightloom.night import records, stages
from nightloom.night.records import StageRun
from serving.access.keys import Scope, add_key, make_key
from serving.metrics.counters import Counters
from serving.metrics.exposition import Family, Sample, render_families
from serving.metrics.kept_stage_runs import KeptStageRuns
from serving.stores.pushes import POINTER
from tests.serving.conftest import CONFIG, Client, D, Project, moment
from tests.serving.test_monitoring import named_in_expressions

POPULAR = 'route="/v1/popular"'


def figures(text: str) -> dict[str, float]:
    """Name and labels -> value."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (re.fullmatch(r"(.+) (\S+)", line).groups() for line in lines)}  # type: ignore[union-attr]


def scraped(client: Client) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return figures(answer.text)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one version."""
    root = tmp_path_factory.mktemp("metrics")
    (root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    project = Project(root)
    project.plant_all().judge()
    project.publish()
    return project


@pytest.fixture(scope="module")
def client(published: Project) -> Client:
    return published.client()


def changes(client: Client, ask: Callable[[], object]) -> dict[str, float]:
    """By how much the numbers of /metrics grow, without those that do not."""
    before = scraped(client)
    ask()
    return {name: value - before.get(name, 0) for name, value in scraped(client).items() if value != before.get(name)}


def test_answers_count_by_route_and_status_and_seconds(client: Client) -> None:
    paths = ("/v1/popular", "/v1/users/u1/recommendations", "/v1/popular?k=0", "/v1/popular", "/nowhere")
    found = changes(client, lambda: [client.get(path) for path in paths])
    assert found[f'nightloom_requests_total{{{POPULAR},status="200"}}'] == 2
    assert found[f'nightloom_requests_total{{{POPULAR},status="400"}}'] == 1
    assert found['nightloom_requests_total{route="/v1/users/{user:path}/recommendations",status="200"}'] == 1
    assert found['nightloom_requests_total{route="other",status="404"}'] == 1
    assert found[f"nightloom_request_seconds_count{{{POPULAR}}}"] == 3
    buckets = [count for name, count in found.items() if f"_bucket{{{POPULAR}" in name]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3
    assert found[f"nightloom_request_seconds_sum{{{POPULAR}}}"] > 0


def test_lists_count_by_source(client: Client) -> None:
    def ask() -> None:
        for path in ("users/u1/recommendations", "users/nobody/recommendations", "items/1/similar", "popular"):
            client.get(f"/v1/{path}")
        client.request("POST", "/v1/recommendations", json={"users": ["u1", "u2", "stranger"]})

    found = {name: count for name, count in changes(client, ask).items() if "lists_total" in name}
    expected = {"personal": 3, "similar": 1, "popular": 3}
    assert found == {
        f'nightloom_lists_total{{source="{source}",stale="false"}}': count for source, count in expected.items()
    }


def test_the_served_version_and_the_store(client: Client) -> None:
    found = scraped(client)
    info = next(name for name in found if name.startswith("nightloom_served_info"))
    assert info == f'nightloom_served_info{{version="v000001",night="{D}",model_version="7"}}'
    assert found["nightloom_served_version"] == 1
    assert found["nightloom_served_generated_timestamp_seconds"] == moment(D).timestamp()
    assert found["nightloom_served_published_timestamp_seconds"] > moment(D).timestamp()
    assert found['nightloom_served_rows{kind="users"}'] == 8
    assert found['nightloom_store_versions{state="CURRENT"}'] == 1


def test_the_console_and_the_metrics_have_one_rule_of_freshness(client: Client) -> None:
    late = scraped(client)["nightloom_nights_late"]
    assert late > 10_000  # since 1998
    assert f"{late:,.0f} nights late" in client.get("/console").text


def test_stages_are_those_of_the_run_records_and_new_runs_show(published: Project, client: Client) -> None:
    kept: KeptStageRuns = client.app.state.stage_runs
    publish = 'dag="nightly",stage="serving.publish"'
    first = figures(asyncio.run(renewed(kept)))
    good = first[f"nightloom_stage_last_success_timestamp_seconds{{{publish}}}"]
    assert first[f"nightloom_stage_failed{{{publish}}}"] == 0
    assert first[f'nightloom_stage_rows{{{publish},rows="users"}}'] == 8
    assert first[f"nightloom_stage_peak_memory_bytes{{{publish}}}"] > 1 << 24
    assert first['nightloom_gate_closed{gate="slate"}'] == 0
    assert first[f'nightloom_night_info{{night="{D}",state="published"}}'] == 1
    records.append_run(published.night().lake, run_of(stages.PUBLISH.name, "failed"))
    later = figures(asyncio.run(renewed(kept)))
    assert later[f"nightloom_stage_failed{{{publish}}}"] == 1
    assert later[f"nightloom_stage_seconds{{{publish}}}"] == 12.5
    assert later[f"nightloom_stage_last_success_timestamp_seconds{{{publish}}}"] == good
    assert later[f"nightloom_stage_failed{{{publish}}}"] == scraped(client)[f"nightloom_stage_failed{{{publish}}}"]


def test_the_alerts_and_the_dashboard_name_metrics_that_are_there(client: Client) -> None:
    client.get("/v1/popular")
    asyncio.run(renewed(client.app.state.stage_runs))
    assert named_in_expressions() - {name.partition("{")[0] for name in scraped(client)} == set()


async def renewed(kept: KeptStageRuns) -> str:
    """The text after the records were looked at, however long that takes."""
    kept._looked_at = -math.inf
    await kept.text()
    assert kept._work is not None
    await kept._work
    return await kept.text()


def run_of(stage: str, status: records.Status) -> StageRun:
    return StageRun(
        run_id="later", night=D, stage=stage, status=status, started_at=moment(D + timedelta(days=20_000)),
        seconds=12.5, reads={}, writes={}, rows={}, tags={}, code="-", config="-", error="lost",
    )  # fmt: skip


def test_a_store_in_trouble_shows(published: Project, client: Client) -> None:
    store = published.store
    good = store.read_note(POINTER)

    def ask() -> None:
        store.write_note(POINTER, "nonsense")
        client.get("/v1/popular")

    try:
        found = changes(client, ask)
    finally:
        store.write_note(POINTER, good)
    assert found["nightloom_store_up"] == -1
    assert found["nightloom_store_failures_total"] >= 1
    assert found['nightloom_lists_total{source="popular",stale="true"}'] == 1


def test_before_anything_was_published_the_store_is_up(project: Project) -> None:
    client = project.client()
    assert client.get("/v1/popular").status_code == 503
    found = scraped(client)
    assert found[f'nightloom_requests_total{{{POPULAR},status="503"}}'] == 1
    assert found["nightloom_store_up"] == 1
    assert not [name for name in found if "nightloom_stage" in name]


def test_a_text_of_any_kind_stays_in_its_label() -> None:
    hostile = Family("a", "gauge", "What.", [Sample(1, {"night": 'a"} 2\nb\\'})])
    assert render_families([hostile]).splitlines()[2:] == ['a{night="a\\"} 2\\nb\\\\"} 1']


def test_workers_are_added_up_and_the_place_of_one_that_ended_is_taken(tmp_path: Path) -> None:
    first, second = Counters(["/a"], ["popular"], tmp_path), Counters(["/a"], ["popular"], tmp_path)
    for each in (first, second, second):
        each.count_request("/a", 200, 0.002)
        each.count_events(2, 1)
    assert totals(first) == totals(second) == {"requests": 3, "accepted": 6}
    first.close()
    third = Counters(["/a"], ["popular"], tmp_path)
    third.count_request("/a", 200, 0.002)
    assert totals(third) == {"requests": 4, "accepted": 6}
    assert len([*tmp_path.iterdir()]) == 2
    second.close()
    third.close()


def totals(counters: Counters) -> dict[str, float]:
    found = figures(render_families(counters.families()))
    return {
        "requests": found['nightloom_requests_total{route="/a",status="200"}'],
        "accepted": found['nightloom_events_total{result="accepted"}'],
    }


@pytest.fixture
def with_keys(project: Project) -> dict[Scope, str]:
    made = {scope: make_key(f"only {scope}", [scope], 1e4, 10_000) for scope in Scope}
    for each in made.values():
        add_key(project.settings.place("access"), each.key)
    return {scope: each.text for scope, each in made.items()}


def test_another_machine_needs_a_key_for_metrics_and_this_one_does_not(
    project: Project, with_keys: dict[Scope, str]
) -> None:
    client = project.client()
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert status_at(client, host) == 200
    assert status_at(client, "10.1.2.3") == 401
    for scope, text in with_keys.items():
        assert status_at(client, "10.1.2.3", text) == (200 if scope is Scope.METRICS else 403)


def test_at_an_address_of_their_own_metrics_need_no_key(project: Project, with_keys: dict[Scope, str]) -> None:
    project.configure("[store]", '[serving]\nmetrics = "10.1.2.3:9000"\n\n[store]')
    client = project.client()
    assert status_at(client, "10.1.2.3:9000") == 200
    assert status_at(client, "10.1.2.3:8000") == 404
    assert status_at(client, "10.1.2.3:9000", path="/v1/popular") == 404
    project.configure('"10.1.2.3:9000"', '"off"')
    assert status_at(project.client(), "localhost:8000") == 404


def status_at(client: Client, address: str, key: str = "", path: str = "/metrics") -> int:
    """The status of an answer at an address of the server."""

    async def once() -> int:
        transport = httpx.ASGITransport(app=client.app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{address}") as sender:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return (await sender.get(path, headers=headers)).status_code

    return asyncio.run(once())
